#include "kernels/plain/nest.h"
#include "kernels/plain/plain.h"

namespace featherweight::plain {
namespace {

// An array of one axis is a matrix of one row, or of one column.
Shape as_matrices(const Shape& shape, bool column) noexcept {
  if (shape.rank != 1) return shape;
  const std::int64_t size = shape.dims[0];
  return column ? Shape{2, {size, 1}} : Shape{2, {1, size}};
}

// Over all axes but the last two; an input of fewer of them, or of size 1, is broadcast.
Nest<2> batches(const Shape& a, const Shape& b) noexcept {
  Nest<2> nest;
  const Shape* const shapes[] = {&a, &b};
  nest.shape.rank = (a.rank > b.rank ? a.rank : b.rank) - 2;
  for (int axis = 0; axis < nest.shape.rank; ++axis) nest.shape.dims[axis] = 1;
  for (int i = 0; i < 2; ++i) {
    const Strides strides = row_major(*shapes[i]);
    const int missing = nest.shape.rank - (shapes[i]->rank - 2);
    for (int axis = 0; axis < shapes[i]->rank - 2; ++axis) {
      if (shapes[i]->dims[axis] == 1) continue;
      nest.shape.dims[axis + missing] = shapes[i]->dims[axis];
      nest.strides[i].of[axis + missing] = strides.of[axis];
    }
  }
  nest.collapse();
  return nest;
}

// Whole products for each part where there are enough of them, else a part of each product.
bool shares_products(std::int64_t products, Part part) noexcept {
  return products % part.count == 0 || products >= 4 * std::int64_t{part.count};
}

}  // namespace

void matmul(const MatMul& work, Part part) noexcept {
  const Shape a = as_matrices(work.a_shape, false), b = as_matrices(work.b_shape, true);
  const std::int64_t rows = a.dims[a.rank - 2], depth = a.dims[a.rank - 1], columns = b.dims[b.rank - 1];
  const Nest<2> nest = batches(a, b);
  const int last = nest.shape.rank - 1;
  const bool whole = shares_products(nest.shape.size(), part);
  const Range range = share(nest.shape.size(), whole ? part : Part{});
  for_rows(nest, range, [&](std::int64_t position, const std::int64_t* offsets, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
      featherweight::MatMul product;
      product.a = work.a + offsets[0] + i * nest.strides[0].of[last];
      product.b = work.b + offsets[1] + i * nest.strides[1].of[last];
      product.out = work.out + (position + i) * rows * columns;
      product.a_row = depth;
      product.b_row = product.out_row = columns;
      product.rows = rows;
      product.depth = depth;
      product.columns = columns;
      work.kernel(product, whole ? Part{} : part);
    }
  });
}

}  // namespace featherweight::plain
