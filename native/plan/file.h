// The outside of a `.fw` file: safetensors without compression, with the graph as JSON in its metadata.
//
//   8 bytes: N, little endian | N bytes: header, JSON | body
//   header: {"__metadata__": {"format": "featherweight.fw", "version": "1", "featherweight.graph": "<JSON>", ...},
//            "<tensor>": {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, ...}
//
// A file may come from a stranger. Refused: what is not all of that, a byte range that overlaps another, leaves a
// hole, ends beyond the file, or is not as long as dtype and shape say. Nothing is copied but the header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "base/status.h"
#include "plan/types.h"

namespace featherweight {

inline constexpr int kFormatVersion = 1;

struct Bytes {
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;
};

struct FileTensor {
  Dtype dtype = Dtype::kFloat32;
  Shape shape;
  Bytes bytes;  // of any alignment
};

struct File {
  std::size_t size = 0;  // of the whole
  std::string graph;  // JSON
  std::map<std::string, FileTensor, std::less<>> tensors;
};

// The tensors point into `bytes`.
Result<File> read_file(Bytes bytes);

}  // namespace featherweight
