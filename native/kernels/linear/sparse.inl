// See sparse.h.

#include "kernels/linear/epilogue.h"
#include "kernels/linear/sparse.h"
#include "kernels/linear/transpose.h"

namespace featherweight::FW_ISA {

// The nonzeros of one row times a row of the batch. Four sums hide the latency of additions; weights come from memory
// and are asked for ahead, since the processor itself follows a stream to the end of its page at most.
template <class Column>
FW_INLINE float sparse_dot(const float* values, const Column* columns, std::int64_t size, const float* in) noexcept {
  constexpr std::int64_t kAhead = 512, kLine = 16;  // nonzeros
  float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  std::int64_t i = 0;
  for (; i + kLine <= size; i += kLine) {
    prefetch(values + i + kAhead);
    prefetch(columns + i + kAhead);
    FW_UNROLL for (int k = 0; k < kLine; ++k) sums[k % 4] += values[i + k] * in[columns[i + k]];
  }
  for (; i < size; ++i) sums[i % 4] += values[i] * in[columns[i]];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// The first row of a part: nonzeros, and a little for each row, are cut into equal shares.
FW_INLINE int first_row_of(const PackedSparseLinear& packed, int index, int count) noexcept {
  const auto cost = [&](std::int64_t row) { return packed.starts.data[row] + 4 * row; };
  const std::int64_t bound = cost(packed.outputs) * index / count;
  int low = 0, high = packed.outputs;
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (cost(middle) < bound) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

template <class Column>
FW_INLINE void sparse_rows(const SparseLinear& op, const Column* columns, Part part) noexcept {
  const PackedSparseLinear& packed = *op.packed;
  const LinearOutput to = output_of(op);
  const int last = first_row_of(packed, part.index + 1, part.count);
  alignas(64) float sums[Vec::kLanes];
  for (int m = first_row_of(packed, part.index, part.count); m < last; m += Vec::kLanes) {
    const int rows = at_most(Vec::kLanes, last - m);
    for (std::int64_t b = 0; b < op.batch; ++b) {
      for (int i = 0; i < rows; ++i) {
        const std::int64_t first = packed.starts.data[m + i], size = packed.starts.data[m + i + 1] - first;
        sums[i] = sparse_dot(packed.values.data + first, columns + first, size, op.in + b * packed.inputs);
      }
      write_vector(to, b, m, load_first(sums, rows), rows);
    }
  }
}

// A block of tokens: the first of them, how many there are, and where its maps are.
struct TokenBlock {
  std::int64_t first, size;
  float *in, *out;
};

FW_INLINE int tokens_of_vector(const TokenBlock& block, int vector) noexcept {
  const std::int64_t left = block.size - std::int64_t{vector} * Vec::kLanes;
  return left < 0 ? 0 : (left < Vec::kLanes ? static_cast<int>(left) : Vec::kLanes);
}

// Token `vector` * L + lane into lanes; lanes without a token get zeros.
inline void enter_tokens(const SparseLinear& op, const TokenBlock& block) noexcept {
  const LaneShape& s = op.packed->conv.problem.in;
  const int inputs = op.packed->inputs;
  for (int vector = 0; vector < s.tile_w; ++vector) {
    const int tokens = tokens_of_vector(block, vector);
    const float* from = op.in + (block.first + std::int64_t{vector} * Vec::kLanes) * inputs;
    for (int k = 0; k < inputs; k += Vec::kLanes) {
      const int width = at_most(Vec::kLanes, inputs - k);
      Vec rows[Vec::kLanes];
      FW_UNROLL for (int i = 0; i < Vec::kLanes; ++i)
        rows[i] = i < tokens ? load_first(from + std::int64_t{i} * inputs + k, width) : broadcast(0.0f);
      transpose(rows);
      float* to = block.in + k * s.channel_stride() + std::ptrdiff_t{vector} * Vec::kLanes;
      FW_UNROLL for (int i = 0; i < Vec::kLanes; ++i)
        if (i < width) store(to + i * s.channel_stride(), rows[i]);
    }
  }
}

// And back, for the outputs of a range.
inline void leave_tokens(const SparseLinear& op, const LinearOutput& to, const TokenBlock& block,
                         Range outputs) noexcept {
  const LaneShape& s = op.packed->conv.problem.out;
  for (int vector = 0; vector < s.tile_w; ++vector) {
    const int tokens = tokens_of_vector(block, vector);
    const std::int64_t first = block.first + std::int64_t{vector} * Vec::kLanes;
    for (std::int64_t m = outputs.first; m < outputs.last && tokens > 0; m += Vec::kLanes) {
      const std::int64_t left = outputs.last - m;
      const int width = left < Vec::kLanes ? static_cast<int>(left) : Vec::kLanes;
      const float* from = block.out + m * s.channel_stride() + std::ptrdiff_t{vector} * Vec::kLanes;
      Vec rows[Vec::kLanes];
      FW_UNROLL for (int i = 0; i < Vec::kLanes; ++i)
        rows[i] = i < width ? load(from + i * s.channel_stride()) : broadcast(0.0f);
      transpose(rows);
      FW_UNROLL for (int i = 0; i < Vec::kLanes; ++i)
        if (i < tokens) write_vector(to, first + i, m, rows[i], width);
    }
  }
}

// Strips first .. last-1 of outputs for one block of tokens.
inline void sparse_block(const SparseLinear& op, const LinearOutput& to, const TokenBlock& block,
                         Range strips) noexcept {
  const PackedSparseConv& conv = op.packed->conv;
  SparseConv product;
  product.packed = &conv;
  product.in = block.in;
  product.out = block.out;
  const Ending ending = ending_of(product.epilogue, conv.pieces.flat);
  enter_tokens(op, block);
  for (std::int64_t piece = 0; piece < static_cast<std::int64_t>(conv.pieces.list.size); ++piece)
    sparse_strips(product, ending, piece, strips, piece == 0);
  leave_tokens(op, to, block, {op.packed->strips.data[strips.first], op.packed->strips.data[strips.last]});
}

// Parts share (block of tokens, strip), in this order.
inline void sparse_tokens(const SparseLinear& op, Part part) noexcept {
  const PackedSparseConv& conv = op.packed->conv;
  const LinearOutput to = output_of(op);
  const std::int64_t tokens = std::int64_t{op.packed->tile} * Vec::kLanes;
  float* const scratch = op.scratch + part.index * (conv.problem.in.size() + conv.problem.out.size());
  const Range tasks = share((op.batch + tokens - 1) / tokens * conv.strips, part);
  for (std::int64_t task = tasks.first; task < tasks.last;) {
    const std::int64_t first = task / conv.strips * tokens, strip = task % conv.strips;
    const std::int64_t wanted = strip + tasks.last - task, end = wanted < conv.strips ? wanted : conv.strips;
    const std::int64_t left = op.batch - first;
    const TokenBlock block{first, left < tokens ? left : tokens, scratch, scratch + conv.problem.in.size()};
    sparse_block(op, to, block, {strip, end});
    task += end - strip;
  }
}

inline void sparse_linear(const SparseLinear& op, Part part) noexcept {
  if (op.packed->tile > 0) return sparse_tokens(op, part);
  if (op.packed->wide_columns.size > 0) return sparse_rows(op, op.packed->wide_columns.data, part);
  sparse_rows(op, op.packed->columns.data, part);
}

}  // namespace featherweight::FW_ISA
