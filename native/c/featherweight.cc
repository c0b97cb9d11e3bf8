// The C face of sessions: converts arguments and statuses, and does nothing else.
#include "c/featherweight.h"

#include <algorithm>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/fork_mutex.h"
#include "plan/file.h"
#include "plan/session.h"

namespace fw = featherweight;

struct fw_network {
  std::shared_ptr<const fw::Model> model;
  std::unique_ptr<fw::Context> context;

  mutable fw::ForkMutex error_mutex;
  std::string error;

  fw::ForkMutex call_mutex;  // of what follows: the arguments of a call, kept for the room that they have
  std::vector<fw::Shape> shapes;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
};

namespace {

static_assert(FW_IO == static_cast<int>(fw::Code::kIo) && FW_MEMORY == static_cast<int>(fw::Code::kMemory));
static_assert(FW_FORMAT_VERSION == fw::kFormatVersion);
static_assert(FW_MAX_RANK == fw::kMaxRank && FW_UNKNOWN == fw::kUnknown);
static_assert(FW_BOOL == static_cast<int>(fw::Dtype::kBool) && FW_INT64 == static_cast<int>(fw::Dtype::kInt64));

// Runs the body and keeps what went wrong for fw_error.
template <class Body>
fw_status answer(fw_network* network, Body body) noexcept {
  fw::Status status;
  bool told = false;
  const auto keep = [&](const std::string& text) {
    const fw::ForkLock lock(network->error_mutex);
    network->error = text;
  };
  try {
    status = body();
    keep(status.text());
    told = true;
  } catch (...) {
  }
  if (told) return static_cast<fw_status>(status.code());
  const fw::ForkLock lock(network->error_mutex);
  network->error.assign("out of memory");  // so short that it always has room
  return FW_MEMORY;
}

fw::Status missing(const char* what) { return {fw::Code::kArgument, std::string(what) + " should not be NULL"}; }

// Opened networks alone have a context.
fw::Status opened(const fw_network& network) {
  return network.context ? fw::Status() : fw::Status(fw::Code::kArgument, "the network was not opened");
}

// A new network in *out, of the context that `make` gives.
template <class Make>
fw_status create(fw_network** out, Make make) noexcept {
  if (out == nullptr) return FW_ARGUMENT;
  *out = nullptr;
  try {
    *out = new fw_network;
  } catch (...) {
    return FW_MEMORY;
  }
  return answer(*out, [&]() -> fw::Status {
    FW_ASSIGN(context, make());
    (*out)->model = context->shared_model();
    (*out)->context = std::move(context);
    return {};
  });
}

template <class Open>
fw_status open(fw_network** out, int32_t threads, const char* isa, Open open_model) noexcept {
  return create(out, [&]() -> fw::Result<std::unique_ptr<fw::Context>> {
    FW_ASSIGN(model, open_model());
    fw::ContextOptions options;
    options.threads = threads != 0 ? threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    if (isa != nullptr) options.isa = isa;
    return fw::Context::create(std::move(model), options);
  });
}

fw_shape shape_of(const fw::Shape& shape) noexcept {
  fw_shape out{};
  out.rank = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), out.sizes);
  return out;
}

// Into network.shapes.
fw::Status take_shapes(fw_network& network, const fw_shape* shapes) {
  FW_TRY(opened(network));
  if (shapes == nullptr) return missing("input_shapes");
  network.shapes.resize(network.model->graph().inputs.size());
  for (std::size_t i = 0; i < network.shapes.size(); ++i) {
    if (shapes[i].rank < 0 || shapes[i].rank > FW_MAX_RANK)
      return {fw::Code::kArgument, "a rank should be from 0 to 8, got " + std::to_string(shapes[i].rank)};
    network.shapes[i].assign(shapes[i].sizes, shapes[i].sizes + shapes[i].rank);
  }
  return {};
}

fw::Status check_index(const fw_network& network, const fw_value* value, int32_t index, std::size_t size) {
  FW_TRY(opened(network));
  if (value == nullptr) return missing("value");
  if (index >= 0 && static_cast<std::size_t>(index) < size) return {};
  return {fw::Code::kArgument, "index " + std::to_string(index) + " of " + std::to_string(size)};
}

template <class Pointer>
fw::Status take_pointers(std::vector<Pointer>& into, const Pointer* from, std::size_t size, const char* what) {
  if (from == nullptr) return missing(what);
  into.assign(from, from + size);
  return std::find(into.begin(), into.end(), nullptr) == into.end() ? fw::Status() : missing(what);
}

// The body with the arguments of a call to itself.
template <class Body>
fw_status call(fw_network* network, Body body) noexcept {
  return answer(network, [&]() -> fw::Status {
    const fw::ForkLock lock(network->call_mutex);
    return lock.owned() ? body() : fw::lost_to_fork();
  });
}

}  // namespace

const char* fw_version() { return FW_VERSION; }

int32_t fw_format_version() { return FW_FORMAT_VERSION; }

fw_status fw_open_path(const char* path, int32_t threads, const char* isa, fw_network** network) {
  return open(network, threads, isa, [&]() -> fw::Result<std::shared_ptr<const fw::Model>> {
    if (path == nullptr) return missing("path");
    return fw::Model::open_path(path);
  });
}

fw_status fw_open_memory(const void* bytes, size_t size, int32_t threads, const char* isa, fw_network** network) {
  return open(network, threads, isa, [&]() -> fw::Result<std::shared_ptr<const fw::Model>> {
    if (bytes == nullptr) return missing("bytes");
    return fw::Model::open_copy({static_cast<const std::uint8_t*>(bytes), size});
  });
}

fw_status fw_clone(const fw_network* network, int32_t threads, fw_network** clone) {
  return create(clone, [&]() -> fw::Result<std::unique_ptr<fw::Context>> {
    if (network == nullptr) return missing("network");
    FW_TRY(opened(*network));
    return network->context->clone(threads);
  });
}

void fw_close(fw_network* network) { delete network; }

const char* fw_error(const fw_network* network) {
  static thread_local std::string told;  // a copy: another thread's call may change the network's own
  if (network == nullptr) return "out of memory";
  try {
    const fw::ForkLock lock(network->error_mutex);
    told = network->error;
  } catch (...) {
    return "out of memory";
  }
  return told.c_str();
}

int32_t fw_input_count(const fw_network* network) {
  return network != nullptr && network->model ? static_cast<int32_t>(network->model->graph().inputs.size()) : 0;
}

int32_t fw_output_count(const fw_network* network) {
  return network != nullptr && network->model ? static_cast<int32_t>(network->model->graph().outputs.size()) : 0;
}

fw_status fw_input(fw_network* network, int32_t index, fw_value* value) {
  if (network == nullptr) return FW_ARGUMENT;
  return answer(network, [&]() -> fw::Status {
    FW_TRY(check_index(*network, value, index, static_cast<std::size_t>(fw_input_count(network))));
    const fw::GraphInput& input = network->model->graph().inputs[static_cast<std::size_t>(index)];
    *value = {input.name.c_str(), static_cast<fw_dtype>(input.dtype), 1, shape_of(input.shape)};
    return {};
  });
}

fw_status fw_output(fw_network* network, int32_t index, fw_value* value) {
  if (network == nullptr) return FW_ARGUMENT;
  return answer(network, [&]() -> fw::Status {
    FW_TRY(check_index(*network, value, index, static_cast<std::size_t>(fw_output_count(network))));
    const fw::Graph& graph = network->model->graph();
    const fw::OutputType& type = network->model->output_types()[static_cast<std::size_t>(index)];
    const std::string& name =
        graph.values[static_cast<std::size_t>(graph.outputs[static_cast<std::size_t>(index)])];
    *value = {name.c_str(), static_cast<fw_dtype>(type.dtype), type.shape ? 1 : 0,
              shape_of(type.shape.value_or(fw::Shape()))};
    return {};
  });
}

fw_status fw_prepare(fw_network* network, const fw_shape* input_shapes, fw_shape* output_shapes) {
  if (network == nullptr) return FW_ARGUMENT;
  return call(network, [&]() -> fw::Status {
    if (output_shapes == nullptr) return missing("output_shapes");
    FW_TRY(take_shapes(*network, input_shapes));
    FW_ASSIGN(types, network->context->prepare(network->shapes));
    std::transform(types.begin(), types.end(), output_shapes,
                   [](const fw::ValueType& type) { return shape_of(type.shape); });
    return {};
  });
}

fw_status fw_run(fw_network* network, const fw_shape* input_shapes, const void* const* inputs,
                 void* const* outputs) {
  if (network == nullptr) return FW_ARGUMENT;
  return call(network, [&]() -> fw::Status {
    FW_TRY(take_shapes(*network, input_shapes));
    FW_TRY(take_pointers(network->inputs, inputs, network->shapes.size(), "inputs"));
    FW_TRY(take_pointers(network->outputs, outputs, static_cast<std::size_t>(fw_output_count(network)), "outputs"));
    return network->context->run(network->shapes, network->inputs, network->outputs);
  });
}
