// A network that runs: the Model is what is in the file, and what was packed of it, shared by all; a Context is one
// user of it, with threads, memory and a plan for each set of input shapes that it has seen.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/fork_mutex.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "plan/constants.h"
#include "plan/graph.h"
#include "plan/plan.h"

namespace featherweight {

class Model {
 public:
  // `owner` keeps the bytes, and lives as long as the model.
  static Result<std::shared_ptr<const Model>> open(Bytes bytes, std::shared_ptr<const void> owner) noexcept;
  static Result<std::shared_ptr<const Model>> open_copy(Bytes bytes) noexcept;
  static Result<std::shared_ptr<const Model>> open_path(const char* path) noexcept;

  const Graph& graph() const noexcept { return graph_; }
  const std::vector<Constant>& constants() const noexcept { return constants_; }
  const std::vector<OutputType>& output_types() const noexcept { return output_types_; }
  // May be used by several threads.
  Network network() const noexcept { return {graph_, constants_, packed_}; }

 private:
  Status read(Bytes bytes);

  std::shared_ptr<const void> owner_;
  Graph graph_;
  std::vector<Constant> constants_;
  std::vector<OutputType> output_types_;
  mutable PackedCache packed_;
};

// What callers are told whose lock was lost to a fork.
Status lost_to_fork();

struct ContextOptions {
  int threads = 1;
  std::string isa;  // empty: the environment's FEATHERWEIGHT_ISA, or else the best that this processor runs
  bool force_plain = false, separate_buffers = false;  // for tests, see PlanOptions
};

struct ProfileRow {
  std::string operation, kernel;  // the name of the operation that the step is, or serves
  double milliseconds = 0.0;      // the median
  std::int64_t macs = 0, macs_done = 0;
  int threads = 1;
};

// One call at a time: calls from several threads wait for each other. In a forked child a context works as before; one
// that another thread was using at the fork refuses there.
class Context {
 public:
  static Result<std::unique_ptr<Context>> create(std::shared_ptr<const Model> model,
                                                 const ContextOptions& options) noexcept;

  // Another user of the same model, for the same instruction set; threads 0: as many as this one has. May be called
  // while others run this one, and outlives it.
  Result<std::unique_ptr<Context>> clone(int threads) const noexcept;

  const Model& model() const noexcept { return *model_; }
  const std::shared_ptr<const Model>& shared_model() const noexcept { return model_; }
  const char* isa() const noexcept { return options_.kernels->name; }
  int threads() const noexcept { return pool_.threads(); }

  // Dtypes and shapes of the outputs for inputs of these shapes; plans, the first time.
  Result<std::vector<ValueType>> prepare(const std::vector<Shape>& inputs) noexcept;
  // Arrays of those shapes, and of the sizes that prepare told; outputs overlap neither inputs nor each other. Nothing
  // is allocated for shapes that have a plan.
  Status run(const std::vector<Shape>& shapes, const std::vector<const void*>& inputs,
             const std::vector<void*>& outputs) noexcept;
  // Of `repeats` runs, one row a step.
  Result<std::vector<ProfileRow>> profile(const std::vector<Shape>& shapes, const std::vector<const void*>& inputs,
                                          int repeats) noexcept;
  // Bytes of the arena for these shapes.
  Result<std::int64_t> arena_bytes(const std::vector<Shape>& inputs) noexcept;

 private:
  Context(std::shared_ptr<const Model> model, const PlanOptions& options)
      : model_(std::move(model)), options_(options), pool_(options.threads) {}
  static Result<std::unique_ptr<Context>> made(std::shared_ptr<const Model> model, const PlanOptions& options);
  Result<Plan*> plan_for(const std::vector<Shape>& inputs);
  std::string name_of(const StepInfo& info) const;
  std::vector<ProfileRow> timed(const Plan& plan, int repeats);

  static constexpr std::size_t kMostPlans = 8;

  std::shared_ptr<const Model> model_;
  PlanOptions options_;
  ThreadPool pool_;
  ForkMutex mutex_;
  std::vector<std::unique_ptr<Plan>> plans_;  // the one used last is the first
};

}  // namespace featherweight
