// How the output tile of a convolution is cut into register tiles: pieces of at most 8 rows whose accumulators stay
// in registers.
#pragma once

#include "kernels/array.h"
#include "kernels/operations.h"
#include "kernels/part.h"

namespace featherweight {

// Vectors that a register tile may have, by lanes: of 32 registers with 16 lanes, else of 16, some hold other things.
// More than 16 were never faster.
FW_INLINE constexpr int most_positions(int lanes) noexcept { return lanes == 16 ? 16 : 12; }

// Whether kernels are compiled for register tiles of this size. Strides of 1 and 2 are; others have few.
FW_INLINE constexpr bool has_tile(int lanes, int stride, int rows, int columns) noexcept {
  if (stride > 2) return rows == 1 && columns <= 4;
  const bool narrow = rows <= 8 && columns <= 8;
  return rows * columns <= most_positions(lanes) && (rows == 1 || narrow);
}

// A register tile: its place in the output tile, and its size.
struct Piece {
  int row = 0, column = 0, rows = 0, columns = 0;
};

struct Pieces {
  // The convolution is 1x1 over maps without halos: the tile is one long row.
  bool flat = false;
  int rows = 0, columns = 0;  // of the tile: as it is, or flat
  int largest = 0;            // vectors of the largest piece
  Array<Piece> list;
};

// As few pieces as can be, of about equal sizes, none of more than `positions` vectors.
Pieces cut_into_pieces(const ConvProblem& problem, int positions);

// The share of tasks (image, piece, column), numbered in this order with `columns` to a piece: about equal in positions,
// as pieces are not of one size.
Range share_pieces(const Pieces& pieces, std::int64_t images, std::int64_t columns, Part part) noexcept;

// Vectors of one input channel that a piece reads.
int vectors_read(const ConvShape& conv, int rows, int columns) noexcept;

}  // namespace featherweight
