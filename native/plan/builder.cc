#include "plan/builder.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "plan/memory.h"

namespace featherweight {
namespace {

// Nanoseconds, as those of builder.h.
constexpr double kShared = 4000.0;  // what is worth waking other threads for
constexpr double kMovedFloat = 0.6, kRetiledFloat = 0.4;
constexpr double kHaloFloat = 0.1;

constexpr std::int64_t kMaxArena = std::int64_t{1} << 38;

struct Copy {
  const std::uint8_t* from = nullptr;
  std::uint8_t* to = nullptr;
  std::size_t bytes = 0;
};

void copy(const Copy& work, Part part) noexcept {
  if (part.index == 0 && work.bytes != 0) std::memcpy(work.to, work.from, work.bytes);
}

Halo widest(Halo a, Halo b) noexcept {
  return {std::max(a.top, b.top), std::max(a.left, b.left), std::max(a.bottom, b.bottom),
          std::max(a.right, b.right)};
}

Halo halo_of(const Operation& operation, const std::vector<Constant>& constants, const Tiling& out) {
  if (const auto* conv = std::get_if<ConvAttributes>(&operation.attributes)) {
    const Shape& weight = constants[static_cast<std::size_t>(operation.weight)].shape();
    return halo_for(conv_shape(conv->window, conv->groups, weight[2], weight[3]), out.tile_h, out.tile_w);
  }
  if (const auto* pool = std::get_if<PoolAttributes>(&operation.attributes))
    return halo_for(conv_shape(pool->window, 1, pool->window.kernel[0], pool->window.kernel[1]), out.tile_h,
                    out.tile_w);
  return {};
}

std::size_t at(ValueId value) noexcept { return static_cast<std::size_t>(value); }

}  // namespace

Builder::Builder(const Network& network, const std::vector<ValueType>& types, const PlanOptions& options)
    : graph_(network.graph), constants_(network.constants), cache_(network.cache), types_(types), options_(options) {}

Result<std::unique_ptr<Plan>> Builder::build(const std::vector<Shape>& inputs) {
  plan_ = std::make_unique<Plan>();
  for (std::size_t i = 0; i < inputs.size(); ++i) plan_->inputs.push_back(types_[i]);
  for (const ValueId output : graph_.outputs) plan_->outputs.push_back(types_[at(output)]);
  modes_ = choose_modes(graph_, types_, options_.force_plain);
  tilings_ = choose_tilings(graph_, types_, modes_, work_of_operations(), kernels().lanes);
  FW_TRY(demand_maps());
  place_inputs_and_outputs();
  for (current_ = 0; current_ < graph_.operations.size(); ++current_) {
    const Operation& operation = graph_.operations[current_];
    if (count(shape(operation.output)) == 0) {
      make_plain(operation.output);
      continue;
    }
    const bool linear = mode() == Mode::kLinear || std::holds_alternative<LinearAttributes>(operation.attributes);
    const bool in_lanes = mode() == Mode::kLanes || mode() == Mode::kAffine;
    FW_TRY((linear     ? lower_linear
            : in_lanes ? lower_lanes
                       : lower_plain)(*this, operation)
               .within(operation.title()));
  }
  copy_outputs();
  FW_TRY(allocate());
  return std::move(plan_);
}

std::vector<double> Builder::work_of_operations() const {
  std::vector<double> work;
  for (const Operation& operation : graph_.operations) {
    double each = 0.0;
    const Shape& out = shape(operation.output);
    if (out.size() == 4) each = kTouched * static_cast<double>(out[1]);
    if (const auto* conv = std::get_if<ConvAttributes>(&operation.attributes)) {
      const Constant& weight = constant(operation.weight);
      each += is_sparse(conv->kernel, weight) ? kSparseFma * static_cast<double>(weight.nonzeros())
                                              : kDenseFma * static_cast<double>(weight.elements());
    }
    if (const auto* pool = std::get_if<PoolAttributes>(&operation.attributes))
      each += kTouched * static_cast<double>(out[1]) * pool->window.kernel[0] * pool->window.kernel[1];
    work.push_back(each);
  }
  return work;
}

Status Builder::demand(ValueId value, const Tiling& tiling, Halo halo) {
  auto& maps = maps_[at(value)];
  auto found = std::find_if(maps.begin(), maps.end(), [&](const LaneMap& map) { return map.tiling == tiling; });
  if (found == maps.end()) found = maps.insert(maps.end(), LaneMap{tiling, {}, nullptr, kNone, {}});
  found->halo = widest(found->halo, halo);
  const LaneShape whole = lane_shape(shape(value), tiling, found->halo);
  const double floats = static_cast<double>(whole.rows()) * whole.columns() * whole.lanes * whole.channels;
  if (floats > 0.9 * INT32_MAX)
    return {Code::kUnsupported, "a feature map of shape " + text_of(shape(value)) + " is too large"};
  return {};
}

// Which maps there will be, and how wide their halos: before any of them gets its memory.
Status Builder::demand_maps() {
  maps_.resize(types_.size());
  for (std::size_t i = 0; i < modes_.size(); ++i) {
    const Operation& operation = graph_.operations[i];
    const bool gives = gives_lanes(operation, modes_[i]);
    if (gives) FW_TRY(demand(operation.output, tilings_[i], {}).within(operation.title()));
    if (!gives) continue;
    for (const LaneInput& input : lane_inputs(operation, modes_[i], types_)) {
      const Halo halo = input.index == 0 ? halo_of(operation, constants_, tilings_[i]) : Halo{};
      FW_TRY(demand(operation.inputs[input.index], tilings_[i].times(input.stride_h, input.stride_w), halo)
                 .within(operation.title()));
    }
  }
  return {};
}

void Builder::place_inputs_and_outputs() {
  plain_.assign(types_.size(), kNone);
  output_of_.assign(types_.size(), kNone);
  for (std::size_t i = 0; i < graph_.inputs.size(); ++i) plain_[i] = new_buffer({Home::kInput, 0, i, -1, -1});
  for (std::size_t i = 0; i < graph_.outputs.size(); ++i)
    if (output_of_[at(graph_.outputs[i])] == kNone) output_of_[at(graph_.outputs[i])] = static_cast<int>(i);
  // What is only reshaped into an output is written there at once.
  for (auto operation = graph_.operations.rbegin(); operation != graph_.operations.rend(); ++operation) {
    if (!std::holds_alternative<ReshapeAttributes>(operation->attributes)) continue;
    int& target = output_of_[at(operation->inputs[0])];
    if (target == kNone) target = output_of_[at(operation->output)];
  }
}

BufferId Builder::new_buffer(Buffer buffer) {
  buffers_.push_back(buffer);
  return static_cast<BufferId>(buffers_.size()) - 1;
}

const float* Builder::keep(AlignedVector<float> floats) {
  auto kept = std::make_shared<const AlignedVector<float>>(std::move(floats));
  const float* data = kept->data();
  plan_->kept.push_back(std::move(kept));
  return data;
}

const float* Builder::dense(ConstantId id) {
  if (id == kNone) return nullptr;
  auto shared = cache_.dense(id, constant(id));
  const float* data = shared->data();
  plan_->kept.push_back(std::move(shared));
  return data;
}

BufferId Builder::make_scratch(std::int64_t bytes) { return new_buffer({Home::kArena, bytes, 0, -1, -1}); }

BufferId Builder::make_plain(ValueId value) {
  const auto bytes = count(shape(value)) * static_cast<std::int64_t>(info_of(dtype(value)).bytes);
  const int output = output_of_[at(value)];
  const bool is_output = output != kNone;
  return plain_[at(value)] =
             new_buffer({is_output ? Home::kOutput : Home::kArena, bytes, is_output ? at(output) : 0, -1, -1});
}

void Builder::alias(ValueId value, ValueId of) { plain_[at(value)] = plain(of); }

LaneMap& Builder::map_of(ValueId value, const Tiling& tiling) {
  for (LaneMap& map : maps_[at(value)])
    if (map.tiling == tiling) return map;
  return maps_[at(value)].emplace_back(
      LaneMap{tiling, {}, nullptr, kNone, {}});  // not reached: demand_maps saw all
}

void Builder::materialize(LaneMap& map, ValueId value) {
  plan_->shapes.push_back(lane_shape(shape(value), map.tiling, map.halo));
  map.shape = &plan_->shapes.back();
  map.buffer = make_scratch(map.shape->size() * std::int64_t{sizeof(float)});
}

LaneMap& Builder::make_lanes(ValueId value) {
  LaneMap& map = map_of(value, tiling());
  materialize(map, value);
  return map;
}

LaneMap& Builder::make_lanes_over(ValueId value, ValueId over) {
  LaneMap& map = make_lanes(value);
  take_memory(map, over);
  return map;
}

LaneMap& Builder::make_lanes_in_place(ValueId value) {
  LaneMap& map = make_lanes(value);
  const auto& operands = graph_.operations[current_].inputs;
  std::any_of(operands.begin(), operands.end(), [&](ValueId operand) { return take_memory(map, operand); });
  return map;
}

bool Builder::take_memory(LaneMap& map, ValueId of) {
  const auto& maps = maps_[at(of)];
  const auto other = std::find_if(maps.begin(), maps.end(), [&](const LaneMap& m) { return m.tiling == map.tiling; });
  const bool same = other != maps.end() && other->shape != nullptr && *other->shape == *map.shape;
  if (!same || is_read_later(of) || options_.separate_buffers) return false;
  map.buffer = other->buffer;
  return true;
}

bool Builder::is_read_later(ValueId value) const {
  const auto is_it = [value](ValueId other) { return other == value; };
  const auto& all = graph_.operations;
  const auto after = all.begin() + static_cast<std::ptrdiff_t>(current_) + 1;
  return std::any_of(graph_.outputs.begin(), graph_.outputs.end(), is_it) ||
         std::any_of(after, all.end(), [&](const Operation& operation) {
           return std::any_of(operation.inputs.begin(), operation.inputs.end(), is_it);
         });
}

LaneMap& Builder::any_lanes(ValueId value) {
  for (LaneMap& map : maps_[at(value)])
    if (map.shape != nullptr) return map;
  return maps_[at(value)].front();  // not reached: only asked for values that an operation in lanes gave
}

BufferId Builder::plain(ValueId value) {
  if (plain_[at(value)] != kNone) return plain_[at(value)];
  const LaneMap& map = any_lanes(value);
  const BufferId buffer = make_plain(value);
  auto& step = add(kernels().leave_lanes, "leave_lanes", kMovedFloat * static_cast<double>(count(shape(value))));
  bind(step.args.in, map);
  bind(step.args.out, buffer);
  return buffer;
}

LaneMap& Builder::lanes(ValueId value, const Tiling& tiling) {
  LaneMap& map = map_of(value, tiling);
  if (map.shape != nullptr) return map;
  if (retiled(map, value)) return map;
  const BufferId from = plain(value);
  materialize(map, value);
  auto& step = add(kernels().enter_lanes, "enter_lanes", kMovedFloat * static_cast<double>(count(shape(value))));
  bind(step.args.in, from);
  bind(step.args.out, map);
  return map;
}

// From another map, if the value is in lanes alone.
bool Builder::retiled(LaneMap& map, ValueId value) {
  if (plain_[at(value)] != kNone) return false;
  const LaneMap& from = any_lanes(value);
  if (from.shape == nullptr || !can_retile(*from.shape, lane_shape(shape(value), map.tiling, map.halo)))
    return false;
  materialize(map, value);
  add_retile(from, map, {});
  return true;
}

void Builder::add_retile(const LaneMap& from, const LaneMap& to, Strides strides) {
  const LaneShape& s = *to.shape;
  const double floats = double{1} * s.batch * s.channels * s.height * s.width;
  auto& step = add(&retile, "retile", kRetiledFloat * floats);
  const auto table = std::make_shared<const std::vector<std::int32_t>>(retile_table(*from.shape, s, strides));
  step.args.from = table->data();
  step.owned = table;
  bind(step.args.in, from);
  bind(step.args.out, to);
}

std::optional<LaneMap> Builder::picked(ValueId value, Strides strides) {
  if (plain_[at(value)] != kNone || map_of(value, tiling().times(strides.rows, strides.columns)).shape != nullptr)
    return {};
  Shape sizes = shape(value);
  sizes[2] = (sizes[2] + strides.rows - 1) / strides.rows;
  sizes[3] = (sizes[3] + strides.columns - 1) / strides.columns;
  const LaneMap& from = any_lanes(value);
  LaneMap map{tiling(), {}, nullptr, kNone, {}};
  const LaneShape wanted = lane_shape(sizes, map.tiling, map.halo);
  if (from.shape == nullptr || !can_retile(*from.shape, wanted)) return {};
  plan_->shapes.push_back(wanted);
  map.shape = &plan_->shapes.back();
  map.buffer = make_scratch(wanted.size() * std::int64_t{sizeof(float)});
  add_retile(from, map, strides);
  return map;
}

void Builder::fill(LaneMap& map, float beyond) {
  if (map.beyond == beyond) return;
  map.beyond = beyond;
  const double all = static_cast<double>(map.shape->size());
  const double inner = double{1} * map.shape->tile_h * map.shape->tile_w * map.shape->lanes * map.shape->channels;
  auto& step = add(kernels().fill_halo, "fill_halo", kHaloFloat * (all - inner * map.shape->tile_n));
  bind(step.args.map, map);
  step.args.beyond = beyond;
}

void Builder::place(std::unique_ptr<Step> step, const char* name, double estimate) {
  step->info.operation = current_ < graph_.operations.size() ? static_cast<int>(current_) : kNone;
  step->info.kernel = name;
  step->info.estimate = estimate;
  step->info.parts = estimate >= kShared ? options_.threads : 1;
  plan_->steps.push_back(std::move(step));
}

void Builder::bind_slot(Slot slot) {
  Buffer& buffer = buffers_[at(slot.buffer)];
  const int step = static_cast<int>(plan_->steps.size()) - 1;
  if (buffer.first == -1) buffer.first = step;
  buffer.last = step;
  slots_.push_back(slot);
}

// Outputs whose array nothing has written to: inputs, and values that are only another shape of an output.
void Builder::copy_outputs() {
  for (std::size_t i = 0; i < graph_.outputs.size(); ++i) {
    const ValueId value = graph_.outputs[i];
    const BufferId from = plain(value);
    const Buffer& buffer = buffers_[at(from)];
    if (buffer.home == Home::kOutput && buffer.index == i) continue;
    const std::int64_t bytes = count(shape(value)) * static_cast<std::int64_t>(info_of(dtype(value)).bytes);
    const BufferId to = new_buffer({Home::kOutput, bytes, i, -1, -1});
    auto& step = add(&copy, "copy", 0.0);
    bind(step.args.from, from);
    bind(step.args.to, to);
    step.args.bytes = static_cast<std::size_t>(bytes);
  }
}

Status Builder::allocate() {
  std::vector<Lifetime> lifetimes;
  std::vector<std::size_t> of_buffer(buffers_.size());
  for (std::size_t b = 0; b < buffers_.size(); ++b) {
    if (buffers_[b].home != Home::kArena || buffers_[b].first == -1) continue;
    of_buffer[b] = lifetimes.size();
    lifetimes.push_back({buffers_[b].bytes, buffers_[b].first, buffers_[b].last});
  }
  const MemoryPlan memory = plan_memory(lifetimes);
  if (memory.bytes > kMaxArena)
    return {Code::kMemory, "these shapes need " + std::to_string(memory.bytes >> 30) + " GiB"};
  plan_->arena_bytes = memory.bytes;
  std::vector<std::uint8_t*> pointers;
  if (!options_.separate_buffers) plan_->memory.emplace_back(static_cast<std::size_t>(memory.bytes));
  for (std::size_t i = 0; i < lifetimes.size(); ++i) {
    if (options_.separate_buffers) plan_->memory.emplace_back(static_cast<std::size_t>(lifetimes[i].bytes));
    pointers.push_back(options_.separate_buffers ? plan_->memory.back().data()
                                                 : plan_->memory[0].data() + memory.offsets[i]);
  }
  for (const Slot& slot : slots_) {
    const Buffer& buffer = buffers_[at(slot.buffer)];
    if (buffer.home == Home::kArena)
      slot.assign(slot.where, pointers[of_buffer[at(slot.buffer)]]);
    else
      plan_->slots.push_back({slot.where, slot.assign, buffer.home == Home::kOutput, buffer.index});
  }
  return {};
}

void Plan::bind(const std::vector<const void*>& in, const std::vector<void*>& out) noexcept {
  for (const ExternalSlot& slot : slots)
    slot.assign(slot.where, slot.is_output ? out[slot.index] : const_cast<void*>(in[slot.index]));
}

void Plan::run_step(std::size_t index, ThreadPool& pool) const noexcept {
  const Step& step = *steps[index];
  const int parts = step.info.parts;
  if (parts == 1) return step.run({0, 1});
  pool.run(parts, [&](int part) { step.run({part, parts}); });
}

void Plan::run(ThreadPool& pool) const noexcept {
  for (std::size_t i = 0; i < steps.size(); ++i) run_step(i, pool);
}

Result<std::unique_ptr<Plan>> make_plan(const Network& network, const std::vector<Shape>& inputs,
                                        const PlanOptions& options) {
  FW_ASSIGN(types, infer_types(network.graph, inputs));
  return Builder(network, types, options).build(inputs);
}

}  // namespace featherweight
