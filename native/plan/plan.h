// A network for one set of input shapes: steps over one arena. Nothing is allocated by run.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "base/aligned.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "kernels/table.h"
#include "plan/constants.h"
#include "plan/graph.h"
#include "plan/packed_cache.h"
#include "plan/shapes.h"
#include "plan/step.h"

namespace featherweight {

struct PlanOptions {
  const Kernels* kernels = nullptr;
  int threads = 1;
  // For tests: no lanes and no packed weights, but the plain operations alone.
  bool force_plain = false;
  // For tests: memory of its own for each buffer, so that sanitizers see what is written beyond its end.
  bool separate_buffers = false;
};

// A pointer of a step that is only known when arrays come.
struct ExternalSlot {
  void* where = nullptr;
  void (*assign)(void* where, void* to) = nullptr;
  bool is_output = false;
  std::size_t index = 0;
};

struct Plan {
  std::vector<ValueType> inputs, outputs;
  std::vector<std::unique_ptr<Step>> steps;
  std::vector<ExternalSlot> slots;
  std::deque<LaneShape> shapes;
  std::vector<std::shared_ptr<const void>> kept;  // biases and what else steps read
  std::deque<AlignedVector<std::uint8_t>> memory;
  std::int64_t arena_bytes = 0;

  // Arrays of the sizes of `inputs` and `outputs`.
  void bind(const std::vector<const void*>& in, const std::vector<void*>& out) noexcept;
  void run_step(std::size_t index, ThreadPool& pool) const noexcept;
  void run(ThreadPool& pool) const noexcept;
};

// What is planned. All plans of a network share its cache.
struct Network {
  const Graph& graph;
  const std::vector<Constant>& constants;
  PackedCache& cache;
};

Result<std::unique_ptr<Plan>> make_plan(const Network& network, const std::vector<Shape>& inputs,
                                        const PlanOptions& options);

}  // namespace featherweight
