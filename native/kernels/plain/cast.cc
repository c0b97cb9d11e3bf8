#include <cstdint>
#include <limits>

#include "kernels/part.h"
#include "kernels/plain/plain.h"

namespace featherweight::plain {
namespace {

// A bool is a byte here.
struct Bool {
  std::uint8_t value;
};

template <class T>
double read(T x) noexcept {
  return static_cast<double>(x);
}
double read(Bool x) noexcept { return x.value != 0 ? 1.0 : 0.0; }

template <class Out, class In>
struct Convert {
  // Whole numbers up to 64 bits do not all fit a double, so that those of one kind do not pass through it.
  static Out of(In x) noexcept {
    const double number = read(x);
    if (number != number) return Out{};
    if (number <= static_cast<double>(std::numeric_limits<Out>::lowest())) return std::numeric_limits<Out>::lowest();
    if (number >= static_cast<double>(std::numeric_limits<Out>::max())) return std::numeric_limits<Out>::max();
    return static_cast<Out>(number);
  }
};
template <class T>
struct Convert<T, T> {
  static T of(T x) noexcept { return x; }
};
template <class In>
struct Convert<float, In> {
  static float of(In x) noexcept { return static_cast<float>(read(x)); }
};
template <>
struct Convert<float, float> {
  static float of(float x) noexcept { return x; }
};
template <class In>
struct Convert<Bool, In> {
  static Bool of(In x) noexcept { return {static_cast<std::uint8_t>(read(x) != 0.0)}; }
};
template <>
struct Convert<Bool, Bool> {
  static Bool of(Bool x) noexcept { return x; }
};

template <class Out, class In>
void cast_range(const Cast& work, Range range) noexcept {
  const In* in = static_cast<const In*>(work.in);
  Out* out = static_cast<Out*>(work.out);
  for (std::int64_t i = range.first; i < range.last; ++i) out[i] = Convert<Out, In>::of(in[i]);
}

template <class Out>
void cast_from(const Cast& work, Range range) noexcept {
  switch (work.in_type) {
    case ElementType::kFloat32: return cast_range<Out, float>(work, range);
    case ElementType::kInt64: return cast_range<Out, std::int64_t>(work, range);
    case ElementType::kInt32: return cast_range<Out, std::int32_t>(work, range);
    case ElementType::kUint8: return cast_range<Out, std::uint8_t>(work, range);
    case ElementType::kBool: return cast_range<Out, Bool>(work, range);
  }
}

}  // namespace

void cast(const Cast& work, Part part) noexcept {
  const Range range = share(work.size, part);
  switch (work.out_type) {
    case ElementType::kFloat32: return cast_from<float>(work, range);
    case ElementType::kInt64: return cast_from<std::int64_t>(work, range);
    case ElementType::kInt32: return cast_from<std::int32_t>(work, range);
    case ElementType::kUint8: return cast_from<std::uint8_t>(work, range);
    case ElementType::kBool: return cast_from<Bool>(work, range);
  }
}

}  // namespace featherweight::plain
