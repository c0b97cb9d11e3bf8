#include "plan/session.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <new>
#include <system_error>
#include <utility>

namespace featherweight {
namespace {

constexpr int kMostThreads = 1024;

// The boundary of the library: what the standard library throws becomes a Status.
template <class T, class Body>
T guarded(Body body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Status(Code::kMemory, "out of memory");
  } catch (const std::exception& error) {
    return Status(Code::kUnsupported, error.what());
  }
}

std::string isa_names() {
  std::string names;
  for (const Isa isa : {Isa::kPortable, Isa::kNeon, Isa::kAvx2, Isa::kAvx512})
    if (const Kernels* kernels = kernels_of(isa)) names += (names.empty() ? "" : ", ") + std::string(kernels->name);
  return names;
}

Result<const Kernels*> kernels_for(std::string name) {
  if (name.empty())
    if (const char* given = std::getenv("FEATHERWEIGHT_ISA")) name = given;
  if (name.empty()) return &best_kernels();
  if (const Kernels* kernels = kernels_named(name.c_str())) return kernels;
  return Status(Code::kUnsupported, "the instruction set " + quoted(name) +
                                        " is unknown, or not supported here; there are: " + isa_names());
}

// Bytes that a caller gave.
struct Range {
  const std::uint8_t* begin;
  std::size_t size;

  Range(const void* data, const ValueType& type) noexcept
      : begin(static_cast<const std::uint8_t*>(data)),
        size(static_cast<std::size_t>(count(type.shape)) * info_of(type.dtype).bytes) {}
  bool overlaps(const Range& other) const noexcept {
    const std::less<const std::uint8_t*> before;
    const bool empty = size == 0 || other.size == 0;
    return !empty && before(begin, other.begin + other.size) && before(other.begin, begin + size);
  }
};

// Steps write to the arrays of outputs while others are still to be read.
Status check_apart(const Plan& plan, const std::vector<const void*>& in, const std::vector<void*>& out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    const Range output(out[i], plan.outputs[i]);
    bool apart = true;
    for (std::size_t j = 0; j < in.size(); ++j) apart = apart && !output.overlaps({in[j], plan.inputs[j]});
    for (std::size_t j = 0; j < i; ++j) apart = apart && !output.overlaps({out[j], plan.outputs[j]});
    if (!apart) return {Code::kArgument, "the array of output " + std::to_string(i) + " overlaps another array"};
  }
  return {};
}

struct FileCloser {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};

// Bytes that are not zeroed first, since all of them are written.
struct Buffer {
  explicit Buffer(std::size_t most) : data(new std::uint8_t[most]) {}

  std::unique_ptr<std::uint8_t[]> data;
  std::size_t size = 0;
};

// How large a file says it is; 0 where it does not say.
std::size_t size_of(std::FILE* file) noexcept {
  if (std::fseek(file, 0, SEEK_END) != 0) return 0;
  const long size = std::ftell(file);
  std::rewind(file);
  if (std::fgetc(file) == EOF) return 0;  // a folder says that it is as large as can be
  std::rewind(file);
  return size > 0 ? static_cast<std::size_t>(size) : 0;
}

// Read and not mapped: what is checked once must not change, and a mapped file that another process cuts off ends
// this one.
Result<std::shared_ptr<Buffer>> read_path(const char* path) {
  const std::unique_ptr<std::FILE, FileCloser> file(std::fopen(path, "rb"));
  if (!file) return Status(Code::kIo, "cannot open " + quoted(path));
  constexpr std::size_t kStep = 1u << 20;
  std::size_t room = size_of(file.get()) + 1;  // one more, to see that the end is the end
  auto bytes = std::make_shared<Buffer>(room);
  while (true) {
    bytes->size += std::fread(bytes->data.get() + bytes->size, 1, room - bytes->size, file.get());
    if (bytes->size < room) break;
    room += std::max(kStep, room);
    auto larger = std::make_shared<Buffer>(room);
    std::copy_n(bytes->data.get(), bytes->size, larger->data.get());
    larger->size = bytes->size;
    bytes = std::move(larger);
  }
  if (std::ferror(file.get()) != 0) return Status(Code::kIo, "cannot read " + quoted(path));
  return bytes;
}

Result<std::shared_ptr<const Model>> open_owned(std::shared_ptr<Buffer> bytes) {
  const Bytes view{bytes->data.get(), bytes->size};
  return Model::open(view, std::move(bytes));
}

}  // namespace

Status lost_to_fork() {
  return {Code::kUnsupported,
          "the process was forked while another thread used this network; open it anew, or fork before"};
}

Result<std::shared_ptr<const Model>> Model::open(Bytes bytes, std::shared_ptr<const void> owner) noexcept {
  return guarded<Result<std::shared_ptr<const Model>>>([&]() -> Result<std::shared_ptr<const Model>> {
    auto model = std::make_shared<Model>();
    model->owner_ = std::move(owner);
    FW_TRY(model->read(bytes));
    return std::shared_ptr<const Model>(std::move(model));
  });
}

Result<std::shared_ptr<const Model>> Model::open_copy(Bytes bytes) noexcept {
  return guarded<Result<std::shared_ptr<const Model>>>([&] {
    auto copy = std::make_shared<Buffer>(bytes.size);
    std::copy_n(bytes.data, bytes.size, copy->data.get());
    copy->size = bytes.size;
    return open_owned(std::move(copy));
  });
}

Result<std::shared_ptr<const Model>> Model::open_path(const char* path) noexcept {
  return guarded<Result<std::shared_ptr<const Model>>>([&]() -> Result<std::shared_ptr<const Model>> {
    FW_ASSIGN(bytes, read_path(path));
    return open_owned(std::move(bytes));
  });
}

Status Model::read(Bytes bytes) {
  FW_ASSIGN(file, read_file(bytes));
  FW_ASSIGN(graph, parse_graph(file.graph));
  FW_ASSIGN(constants, bind_constants(graph, file));
  graph_ = std::move(graph);
  constants_ = std::move(constants);
  output_types_ = partial_output_types(graph_);
  return {};
}

Result<std::unique_ptr<Context>> Context::create(std::shared_ptr<const Model> model,
                                                 const ContextOptions& options) noexcept {
  return guarded<Result<std::unique_ptr<Context>>>([&]() -> Result<std::unique_ptr<Context>> {
    FW_ASSIGN(kernels, kernels_for(options.isa));
    return made(std::move(model), {kernels, options.threads, options.force_plain, options.separate_buffers});
  });
}

Result<std::unique_ptr<Context>> Context::clone(int threads) const noexcept {
  return guarded<Result<std::unique_ptr<Context>>>([&] {
    PlanOptions options = options_;
    if (threads != 0) options.threads = threads;
    return made(model_, options);
  });
}

Result<std::unique_ptr<Context>> Context::made(std::shared_ptr<const Model> model, const PlanOptions& options) {
  if (options.threads < 1 || options.threads > kMostThreads)
    return Status(Code::kArgument, "threads should be from 1 to " + std::to_string(kMostThreads) + ", got " +
                                       std::to_string(options.threads));
  return std::unique_ptr<Context>(new Context(std::move(model), options));
}

Result<Plan*> Context::plan_for(const std::vector<Shape>& inputs) {
  const auto fits = [&](const std::unique_ptr<Plan>& plan) {
    return std::equal(inputs.begin(), inputs.end(), plan->inputs.begin(), plan->inputs.end(),
                      [](const Shape& shape, const ValueType& type) { return shape == type.shape; });
  };
  auto found = std::find_if(plans_.begin(), plans_.end(), fits);
  if (found == plans_.end()) {
    FW_ASSIGN(plan, make_plan(model_->network(), inputs, options_));
    if (plans_.size() == kMostPlans) plans_.pop_back();
    found = plans_.insert(plans_.end(), std::move(plan));
  }
  std::rotate(plans_.begin(), found, found + 1);
  return plans_.front().get();
}

Result<std::vector<ValueType>> Context::prepare(const std::vector<Shape>& inputs) noexcept {
  return guarded<Result<std::vector<ValueType>>>([&]() -> Result<std::vector<ValueType>> {
    const ForkLock lock(mutex_);
    if (!lock.owned()) return lost_to_fork();
    FW_ASSIGN(plan, plan_for(inputs));
    return plan->outputs;
  });
}

Result<std::int64_t> Context::arena_bytes(const std::vector<Shape>& inputs) noexcept {
  return guarded<Result<std::int64_t>>([&]() -> Result<std::int64_t> {
    const ForkLock lock(mutex_);
    if (!lock.owned()) return lost_to_fork();
    FW_ASSIGN(plan, plan_for(inputs));
    return plan->arena_bytes;
  });
}

Status Context::run(const std::vector<Shape>& shapes, const std::vector<const void*>& inputs,
                    const std::vector<void*>& outputs) noexcept {
  return guarded<Status>([&]() -> Status {
    const ForkLock lock(mutex_);
    if (!lock.owned()) return lost_to_fork();
    FW_ASSIGN(plan, plan_for(shapes));
    if (inputs.size() != plan->inputs.size() || outputs.size() != plan->outputs.size())
      return {Code::kArgument, "expected " + std::to_string(plan->inputs.size()) + " input arrays and " +
                                   std::to_string(plan->outputs.size()) + " output arrays, got " +
                                   std::to_string(inputs.size()) + " and " + std::to_string(outputs.size())};
    FW_TRY(check_apart(*plan, inputs, outputs));
    plan->bind(inputs, outputs);
    plan->run(pool_);
    return {};
  });
}

std::string Context::name_of(const StepInfo& info) const {
  if (info.operation < 0) return "outputs";
  const Operation& operation = model_->graph().operations[static_cast<std::size_t>(info.operation)];
  return operation.name.empty() ? operation.op : operation.name;
}

std::vector<ProfileRow> Context::timed(const Plan& plan, int repeats) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::vector<double>> times(plan.steps.size());
  for (int repeat = 0; repeat < repeats; ++repeat)
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
      const auto start = Clock::now();
      plan.run_step(i, pool_);
      times[i].push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    }
  std::vector<ProfileRow> rows;
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const StepInfo& info = plan.steps[i]->info;
    const auto middle = times[i].begin() + repeats / 2;
    std::nth_element(times[i].begin(), middle, times[i].end());
    rows.push_back({name_of(info), info.kernel, *middle, info.macs, info.macs_done, info.parts});
  }
  return rows;
}

Result<std::vector<ProfileRow>> Context::profile(const std::vector<Shape>& shapes,
                                                 const std::vector<const void*>& inputs, int repeats) noexcept {
  return guarded<Result<std::vector<ProfileRow>>>([&]() -> Result<std::vector<ProfileRow>> {
    const ForkLock lock(mutex_);
    if (!lock.owned()) return lost_to_fork();
    FW_ASSIGN(plan, plan_for(shapes));
    if (repeats < 1 || inputs.size() != plan->inputs.size())
      return Status(Code::kArgument, "profile takes an array for each input, and one repeat at least");
    std::vector<std::vector<std::uint64_t>> arrays;
    std::vector<void*> outputs;
    for (const ValueType& type : plan->outputs) {
      arrays.emplace_back(static_cast<std::size_t>(count(type.shape)) * info_of(type.dtype).bytes / 8 + 1);
      outputs.push_back(arrays.back().data());
    }
    plan->bind(inputs, outputs);
    plan->run(pool_);
    return timed(*plan, repeats);
  });
}

}  // namespace featherweight
