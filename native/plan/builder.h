// What lowering an operation needs: where its operands are, in the layout that it wants, and room for its output.
//
// A value may be in several places: a plain array, and maps of several tilings. Each is made once, when first asked
// for, by a conversion in front of the step that asks. So a lowering first asks for its operands, and then adds its
// step and binds the step's pointers.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "plan/layout.h"
#include "plan/modes.h"
#include "plan/packed_cache.h"
#include "plan/plan.h"
#include "plan/retile.h"

namespace featherweight {

using BufferId = int;

// Nanoseconds for a vector on one thread, where nothing is measured: for shares and layouts; see layout.cc.
constexpr double kSparseFma = 0.36, kDenseFma = 0.2, kTouched = 0.5;

// A value in lanes.
struct LaneMap {
  Tiling tiling;
  Halo halo;                         // the widest that an operation asks for
  const LaneShape* shape = nullptr;  // null: not there yet
  BufferId buffer = kNone;
  std::optional<float> beyond;  // what its halo is filled with
};

class Builder {
 public:
  Builder(const Network& network, const std::vector<ValueType>& types, const PlanOptions& options);

  Result<std::unique_ptr<Plan>> build(const std::vector<Shape>& inputs);

  // For lowerings.
  const Kernels& kernels() const noexcept { return *options_.kernels; }
  const PlanOptions& options() const noexcept { return options_; }
  const Shape& shape(ValueId value) const noexcept { return types_[static_cast<std::size_t>(value)].shape; }
  Dtype dtype(ValueId value) const noexcept { return types_[static_cast<std::size_t>(value)].dtype; }
  const Constant& constant(ConstantId id) const noexcept { return constants_[static_cast<std::size_t>(id)]; }
  Mode mode() const noexcept { return modes_[current_]; }
  // Of the output of the operation that is being lowered.
  const Tiling& tiling() const noexcept { return tilings_[current_]; }

  // Floats that live as long as the plan.
  const float* keep(AlignedVector<float> floats);
  // The numbers of a constant, or null for kNone; shared by all plans.
  const float* dense(ConstantId id);
  // A constant as a kernel wants it: pack(its matrix, facts...), shared by all plans that want the same.
  template <class Packed, class Weights, class... Facts>
  std::shared_ptr<const Packed> packed(ConstantId id, Packed (*pack)(const Weights&, Facts...),
                                       const std::decay_t<Facts>&... facts) {
    return cache_.packed(id, constant(id), pack, facts...);
  }

  // The value in that layout, converted if need be.
  BufferId plain(ValueId value);
  LaneMap& lanes(ValueId value, const Tiling& tiling);
  // Every so many rows and columns of the value, in the tiling of the output: for who reads no others. None where
  // the whole map is at hand, or cannot be picked from.
  std::optional<LaneMap> picked(ValueId value, Strides strides);
  // Any map of the value that is there.
  LaneMap& any_lanes(ValueId value);
  // Fills the halo, if it is not filled with that already.
  void fill(LaneMap& map, float beyond);

  // Room for a value.
  BufferId make_plain(ValueId value);
  LaneMap& make_lanes(ValueId value);
  // The same, in the memory of `over`, which has the same sizes, if nobody reads that later. The step may read it
  // where it writes, not elsewhere.
  LaneMap& make_lanes_over(ValueId value, ValueId over);
  // The same, in the memory of any operand.
  LaneMap& make_lanes_in_place(ValueId value);
  BufferId make_scratch(std::int64_t bytes);
  // `value` is the same array as `of`.
  void alias(ValueId value, ValueId of);

  // Adds a step. `estimate`: nanoseconds on one thread, which decide whether threads share it.
  template <class Arguments>
  KernelStep<Arguments>& add(void (*kernel)(const Arguments&, Part) noexcept, const char* name, double estimate) {
    auto step = std::make_unique<KernelStep<Arguments>>(kernel, Arguments{});
    KernelStep<Arguments>& added = *step;
    place(std::move(step), name, estimate);
    return added;
  }
  // Sets a pointer of the step that was added last to the memory of `buffer`.
  template <class T>
  void bind(T*& pointer, BufferId buffer) {
    bind_slot({&pointer, [](void* where, void* to) { *static_cast<T**>(where) = static_cast<T*>(to); }, buffer});
  }
  void bind(ConstLaneView& view, const LaneMap& map) {
    bind(view.data, map.buffer);
    view.shape = map.shape;
  }
  void bind(LaneView& view, const LaneMap& map) {
    bind(view.data, map.buffer);
    view.shape = map.shape;
  }

 private:
  enum class Home { kArena, kInput, kOutput };
  struct Buffer {
    Home home = Home::kArena;
    std::int64_t bytes = 0;
    std::size_t index = 0;  // of the input or output
    int first = -1, last = -1;
  };
  struct Slot {
    void* where;
    void (*assign)(void* where, void* to);
    BufferId buffer;
  };

  std::vector<double> work_of_operations() const;
  Status demand_maps();
  Status demand(ValueId value, const Tiling& tiling, Halo halo);
  void place_inputs_and_outputs();
  BufferId new_buffer(Buffer buffer);
  BufferId plain_buffer(ValueId value);
  LaneMap& map_of(ValueId value, const Tiling& tiling);
  void materialize(LaneMap& map, ValueId value);
  bool retiled(LaneMap& map, ValueId value);
  void add_retile(const LaneMap& from, const LaneMap& to, Strides strides);
  bool is_read_later(ValueId value) const;
  bool take_memory(LaneMap& map, ValueId of);
  void copy_outputs();
  void place(std::unique_ptr<Step> step, const char* name, double estimate);
  void bind_slot(Slot slot);
  Status allocate();

  const Graph& graph_;
  const std::vector<Constant>& constants_;
  PackedCache& cache_;
  const std::vector<ValueType>& types_;
  PlanOptions options_;
  std::vector<Mode> modes_;
  std::vector<Tiling> tilings_;
  std::vector<std::vector<LaneMap>> maps_;  // of each value
  std::vector<BufferId> plain_;             // of each value
  std::vector<int> output_of_;              // of each value: the graph's output whose array it is written to
  std::vector<Buffer> buffers_;
  std::vector<Slot> slots_;
  std::unique_ptr<Plan> plan_;
  std::size_t current_ = 0;  // operation
};

// Whether a layer with this weight runs on a kernel that skips zeros.
inline bool is_sparse(KernelChoice kernel, const Constant& weight) noexcept {
  constexpr double kFrom = 0.6;  // of zeros
  const auto zeros = static_cast<double>(weight.elements() - weight.nonzeros());
  return kernel == KernelChoice::kSparse ||
         (kernel == KernelChoice::kAuto && zeros >= kFrom * static_cast<double>(weight.elements()));
}

// One a layout: adds the steps of an operation.
Status lower_plain(Builder& builder, const Operation& operation);
Status lower_lanes(Builder& builder, const Operation& operation);
Status lower_linear(Builder& builder, const Operation& operation);  // `linear`, and a convolution that is one

}  // namespace featherweight
