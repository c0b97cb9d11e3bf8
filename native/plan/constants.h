// The tensors of a file as the constants of its graph: held against the shapes that the graph states, once, when a
// file is opened; decoded when a plan packs them.
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "base/aligned.h"
#include "base/status.h"
#include "kernels/operations.h"
#include "plan/file.h"
#include "plan/graph.h"

namespace featherweight {

// Nonzeros by rows, as kernels/operations.h has them.
struct SparseMatrix {
  AlignedVector<float> decoded;
  const float* values = nullptr;  // decoded, or where they lie in the file
  std::vector<std::int32_t> columns;
  std::vector<std::int64_t> starts;
  int width = 0;

  SparseWeights view() const noexcept {
    return {values, columns.data(), starts.data(), static_cast<int>(starts.size()) - 1, width};
  }
};

// All numbers by rows.
struct DenseMatrix {
  AlignedVector<float> decoded;
  const float* values = nullptr;  // decoded, or where they lie in the file
  int rows = 0, width = 0;

  DenseWeights view() const noexcept { return {values, rows, width}; }
};

class Constant {
 public:
  // Of the tensors `name`, or `name`.values and `name`.gaps.
  static Result<Constant> bind(const ConstantInfo& info, const File& file);

  const Shape& shape() const noexcept { return shape_; }
  std::int64_t elements() const noexcept { return elements_; }
  std::int64_t nonzeros() const noexcept { return nonzeros_; }

  AlignedVector<float> dense() const;
  // As a matrix with a row for each place of the first axis: a DenseMatrix or a SparseMatrix, by the view it gives.
  // A SparseMatrix has elements.
  template <class Weights>
  auto matrix() const {
    if constexpr (std::is_same_v<Weights, SparseWeights>)
      return sparse_matrix();
    else
      return dense_matrix();
  }

 private:
  Status bind_dense(const FileTensor& tensor);
  Status bind_sparse(const FileTensor& values, const FileTensor& gaps);
  // visit(number of the nonzero, position), for each in their order.
  template <class Visit>
  void each_nonzero(Visit visit) const;
  const float* floats_in_file() const noexcept;
  SparseMatrix sparse_matrix() const;
  DenseMatrix dense_matrix() const;

  Shape shape_;
  Storage storage_ = Storage::kDense;
  std::int64_t elements_ = 0, nonzeros_ = 0;
  Bytes values_, gaps_;
};

Result<std::vector<Constant>> bind_constants(const Graph& graph, const File& file);

}  // namespace featherweight
