// Element by element: unary, lane_unary, lane_binary, lane_affine, lane_copy. The formulas are in operations.h.
//
// A clamp is done with the operation; other activations go over the row again, while it is in the first cache.

#include "kernels/elementwise/activation.h"
#include "kernels/elementwise/rows.h"

namespace featherweight::FW_ISA {

inline void unary(const Unary& op, Part part) noexcept {
  const Range range = share(op.size, part);
  const Vec a = broadcast(op.activation.a), b = broadcast(op.activation.b);
  with_kind(op.activation.kind, [&](auto kind) noexcept {
    std::int64_t i = range.first;
    for (; i + Vec::kLanes <= range.last; i += Vec::kLanes)
      store_any(op.out + i, activate(decltype(kind)::value, load_any(op.in + i), a, b));
    const int rest = static_cast<int>(range.last - i);
    if (rest > 0) store_first(op.out + i, activate(decltype(kind)::value, load_first(op.in + i, rest), a, b), rest);
  });
}

// The rows of one plane, output and up to two inputs, and what becomes of each vector of it.
struct PlaneRows {
  RowShape shape;
  float* out;
  std::ptrdiff_t out_stride;
  const float* in[2];
  std::ptrdiff_t in_stride[2];
};

FW_INLINE PlaneRows plane_rows(LaneView out, ConstLaneView a, ConstLaneView b, Plane plane) noexcept {
  const bool gaps = has_gaps(*out.shape) || has_gaps(*a.shape) || has_gaps(*b.shape);
  return {row_shape(*out.shape, gaps),
          out.data + first_pixel(*out.shape, plane),
          out.shape->row_stride(),
          {a.data + first_pixel(*a.shape, plane), b.data + first_pixel(*b.shape, plane)},
          {a.shape->row_stride(), b.shape->row_stride()}};
}

// out = act(compute(a, b)) of every vector of a plane.
template <class Compute>
FW_INLINE void compute_plane(const PlaneRows& plane, const Activation& activation, Compute compute) noexcept {
  const Clamp bounds = clamp_of(activation);
  for (int row = 0; row < plane.shape.rows; ++row) {
    float* out = plane.out + row * plane.out_stride;
    const float* a = plane.in[0] + row * plane.in_stride[0];
    const float* b = plane.in[1] + row * plane.in_stride[1];
    const std::ptrdiff_t size = plane.shape.vectors * Vec::kLanes;
    if (bounds.is_clamp) {
      const Vec low = broadcast(bounds.low), high = broadcast(bounds.high);
      for (std::ptrdiff_t i = 0; i < size; i += Vec::kLanes)
        store(out + i, clamp(compute(load(a + i), load(b + i)), low, high));
    } else {
      for (std::ptrdiff_t i = 0; i < size; i += Vec::kLanes) store(out + i, compute(load(a + i), load(b + i)));
      activate_row(activation, out, plane.shape.vectors);
    }
  }
}

inline void lane_unary(const LaneUnary& op, Part part) noexcept {
  for_each_plane(*op.out.shape, part, [&](Plane plane) noexcept {
    compute_plane(plane_rows(op.out, op.in, op.in, plane), op.activation, [](Vec x, Vec) noexcept { return x; });
  });
}

template <class Compute>
FW_INLINE void binary_planes(const LaneBinary& op, Part part, Compute compute) noexcept {
  for_each_plane(*op.out.shape, part, [&](Plane plane) noexcept {
    compute_plane(plane_rows(op.out, op.a, op.b, plane), op.activation, compute);
  });
}

inline void lane_binary(const LaneBinary& op, Part part) noexcept {
  switch (op.kind) {
    case BinaryKind::kAdd: return binary_planes(op, part, [](Vec a, Vec b) noexcept { return a + b; });
    case BinaryKind::kSub: return binary_planes(op, part, [](Vec a, Vec b) noexcept { return a - b; });
    case BinaryKind::kMul: return binary_planes(op, part, [](Vec a, Vec b) noexcept { return a * b; });
    case BinaryKind::kDiv: return binary_planes(op, part, [](Vec a, Vec b) noexcept { return a / b; });
  }
}

// The factor or shift of each lane of a plane: lanes hold different images where the grid cuts the batch.
FW_INLINE Vec plane_constant(const LaneAffine& op, const float* constants, float missing, Plane plane) noexcept {
  if (constants == nullptr) return broadcast(missing);
  if (!op.by_image) return broadcast(constants[plane.channel]);
  const LaneShape& s = *op.out.shape;
  alignas(64) float lanes[Vec::kLanes];
  for (int lane = 0; lane < Vec::kLanes; ++lane) {
    const std::int64_t image = std::int64_t{cell_of(s, lane).n} * s.tile_n + plane.image;
    lanes[lane] = image < s.batch ? constants[image * s.channels + plane.channel] : missing;
  }
  return load(lanes);
}

inline void lane_affine(const LaneAffine& op, Part part) noexcept {
  for_each_plane(*op.out.shape, part, [&](Plane plane) noexcept {
    const Vec scale = plane_constant(op, op.scale, 1.0f, plane), shift = plane_constant(op, op.shift, 0.0f, plane);
    compute_plane(plane_rows(op.out, op.in, op.in, plane), op.activation,
                  [&](Vec x, Vec) noexcept { return fma(x, scale, shift); });
  });
}

inline void lane_copy(const LaneCopy& op, Part part) noexcept {
  LaneShape copied = *op.out.shape;
  copied.channels = op.channels;
  const int size = op.channels / op.groups;
  for_each_plane(copied, part, [&](Plane plane) noexcept {
    const Plane from{plane.image, plane.channel + op.in_first};
    const Plane to{plane.image, op.out_first + plane.channel % size * op.groups + plane.channel / size};
    PlaneRows rows = plane_rows(op.out, op.in, op.in, to);
    rows.in[0] = rows.in[1] = op.in.data + first_pixel(*op.in.shape, from);
    compute_plane(rows, Activation{}, [](Vec x, Vec) noexcept { return x; });
  });
}

}  // namespace featherweight::FW_ISA
