// Nothing is allocated while running: of a network with every kind of step, once its shapes are planned.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <set>
#include <string>

#include "c/featherweight.h"
#include "check.h"
#include "fw_file.h"
#include "plan/session.h"

using namespace featherweight;
using test::FwFile;
using test::random_floats;

namespace {

std::atomic<std::int64_t> allocations{0};

void* counted(std::size_t size, std::size_t alignment) {
  ++allocations;
  const std::size_t whole = (std::max<std::size_t>(size, 1) + alignment - 1) / alignment * alignment;
  void* const memory = std::aligned_alloc(alignment, whole);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new[](std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t to) { return counted(size, static_cast<std::size_t>(to)); }
void* operator new[](std::size_t size, std::align_val_t to) { return counted(size, static_cast<std::size_t>(to)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(std::max<std::size_t>(size, 1));
}
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

const std::vector<Shape> kShapes{{2, 3, 33, 47}, {2, 9, 8}, {2, 4}};

std::vector<std::uint8_t> file() {
  FwFile f;
  f.input("x", "[null, 3, null, null]").input("t", "[null, 9, 8]").input("i", "[null, 4]", "int64");
  const auto weight = [](const char* name) { return std::string("\"weight\": \"") + name + '"'; };
  f.dense("w", {8, 3, 3, 3}, random_floats(216)).sparse("s", {8, 8, 3, 3}, random_floats(576, 0.2));
  f.dense("d", {8, 1, 3, 3}, random_floats(72)).sparse("p", {16, 8, 1, 1}, random_floats(128, 0.3));
  f.dense("c", {8, 1, 1}, random_floats(8)).dense("g", {8}, random_floats(8));
  f.dense("u", {8, 4, 2, 2}, random_floats(128)).sparse("l", {12, 8}, random_floats(96, 0.3));
  f.dense("m", {12, 8}, random_floats(96)).dense("far", {2, 3, 1, 1}, random_floats(6));
  // In lanes.
  f.op("conv", "\"x\"", "a", R"("strides": [2, 2], "pads": [1, 1, 1, 1])", weight("w"));
  f.op("conv", "\"a\"", "b", R"("pads": [1, 1, 1, 1], "kernel": "sparse")", weight("s"));
  f.op("conv", "\"b\"", "e", R"("pads": [1, 1, 1, 1], "groups": 8)", weight("d"));
  f.op("max_pool", "\"e\"", "mp", R"("kernel": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1])");
  f.op("conv", "\"mp\"", "s0", R"("strides": [2, 2], "pads": [1, 1, 1, 1])", weight("s"));
  f.op("conv", "\"mp\"", "s1", R"("strides": [3, 1], "pads": [1, 1, 1, 1])", weight("s"));
  f.op("conv", "\"s1\"", "s2", "", weight("p")).op("conv", "\"s0\"", "s3", "", weight("p"));
  f.op("add", "\"a\", \"b\"", "sum").op("unary", "\"sum\"", "th", R"("activation": {"kind": "tanh"})");
  f.op("mul", "\"th\"", "scaled", "", R"("b": "c")");
  f.op("concat", "\"scaled\", \"a\"", "cat", R"("axis": 1)");
  f.op("slice", "\"cat\"", "part", R"("starts": [3], "ends": [11], "axes": [1], "steps": [1])");
  f.op("conv", "\"part\"", "whole", R"("pads": [1, 1, 1, 1])", weight("s"));
  f.op("channel_shuffle", "\"whole\"", "cs", R"("groups": 2)");
  f.op("normalize", "\"cs\"", "ln", R"("axis": 1, "epsilon": 0.01)");
  f.op("global_average_pool", "\"whole\"", "gap").op("reshape", "\"gap\"", "flat", R"("shape": [0, -1])");
  f.op("linear", "\"flat\"", "y0", "", weight("l")).op("linear", "\"flat\"", "y1", R"("kernel": "dense")", weight("m"));
  // Between maps, and plain.
  f.op("resize", "\"whole\"", "up", R"("scales": [2.0, 2.0], "mode": "linear")");
  f.op("conv_transpose", "\"whole\"", "ct", R"("strides": [2, 2])", weight("u"));
  f.op("pad", "\"whole\"", "pd", R"("pads": [0, 0, 1, 2, 0, 0, 3, 1], "mode": "reflect")");
  f.op("depth_to_space", "\"whole\"", "d2s", R"("block": 2)");
  f.op("conv", "\"x\"", "cf", R"("strides": [1048576, 19])", weight("far"));
  f.op("max_pool", "\"x\"", "pf", R"("kernel": [2, 2], "strides": [2, 30])").op("global_max_pool", "\"x\"", "gm");
  f.op("affine", "\"flat\"", "af", "", R"("scale": "g", "shift": "g")");
  f.op("linear", "\"t\"", "q", "", weight("l")).op("transpose", "\"q\"", "qt", R"("permutation": [0, 2, 1])");
  f.op("matmul", "\"q\", \"qt\"", "qq").op("softmax", "\"qq\"", "soft", R"("axis": 2)");
  f.op("log_softmax", "\"qq\"", "logs", R"("axis": 1)");
  f.op("unary", "\"t\"", "te", R"("activation": {"kind": "gelu"})").op("sub", "\"te\", \"t\"", "diff");
  f.op("normalize", "\"t\"", "tn", R"("axis": 2, "epsilon": 0.01)");
  f.op("channel_shuffle", "\"x\"", "xs", R"("groups": 3)");
  f.op("concat", "\"diff\", \"t\"", "tt", R"("axis": 1)");
  f.op("slice", "\"tt\"", "sl", R"("starts": [-1], "ends": [-100], "axes": [1], "steps": [-2])");
  f.op("reduce_mean", "\"sl\"", "rm", R"("axes": [1], "keep": false)");
  f.op("arg_max", "\"rm\"", "best", R"("axis": 1, "keep": false)").op("cast", "\"i\"", "if", R"("dtype": "float32")");
  for (const char* name : {"s2", "s3", "y0", "y1", "up", "ct", "pd", "d2s", "cf", "pf", "gm", "af", "soft", "best",
                           "if", "x", "whole", "ln", "tn", "xs"})
    f.output(name);
  return f.bytes();
}

// An array for each input and output.
struct Arrays {
  std::vector<std::vector<std::uint64_t>> memory;
  std::vector<const void*> in;
  std::vector<void*> out;

  explicit Arrays(const std::vector<ValueType>& types) {
    for (const Shape& shape : kShapes) memory.emplace_back(static_cast<std::size_t>(count(shape)));
    for (const ValueType& type : types) memory.emplace_back(static_cast<std::size_t>(count(type.shape)));
    for (std::size_t i = 0; i < memory.size(); ++i)
      if (i < kShapes.size())
        in.push_back(memory[i].data());
      else
        out.push_back(memory[i].data());
  }
};

void the_network_has_every_step(Context& context, const Arrays& arrays) {
  const auto rows = context.profile(kShapes, arrays.in, 1);
  CHECK(rows.ok());
  if (!rows.ok()) return;
  std::set<std::string> kernels;
  for (const ProfileRow& row : rows.value()) kernels.insert(row.kernel);
  for (const char* name :
       {"enter_lanes", "leave_lanes", "fill_halo", "retile", "sparse_conv", "dense_conv", "depthwise_conv", "pool",
        "global_pool", "lane_unary", "lane_binary", "lane_affine", "lane_copy", "sparse_linear", "dense_linear", "copy",
        "plain_conv", "plain_pool", "plain_global_pool", "conv_transpose", "matmul", "unary", "binary", "affine",
        "concat", "slice", "pad", "resize", "transpose", "reduce_mean", "softmax", "depth_to_space", "arg_max",
        "cast", "normalize", "lane_normalize", "channel_shuffle"}) {
    if (kernels.count(name) == 0) std::fprintf(stderr, "no step is %s\n", name);
    CHECK(kernels.count(name) == 1);
  }
}

void contexts_allocate_nothing(const std::vector<std::uint8_t>& bytes, int threads) {
  const auto model = Model::open_copy({bytes.data(), bytes.size()});
  if (!model.ok()) std::fprintf(stderr, "%s\n", model.status().text().c_str());
  CHECK(model.ok());
  auto context = Context::create(model.value(), {threads, "", false, false}).value();
  const auto types = context->prepare(kShapes);
  if (!types.ok()) std::fprintf(stderr, "%s\n", types.status().text().c_str());
  CHECK(types.ok());
  if (!types.ok()) return;
  const Arrays arrays(types.value());
  the_network_has_every_step(*context, arrays);
  const std::int64_t before = allocations;
  CHECK(before > 100);  // they are counted
  bool ok = true;
  for (int i = 0; i < 20; ++i) ok = ok && context->run(kShapes, arrays.in, arrays.out).ok();
  CHECK(allocations == before);
  CHECK(ok);
}

void c_calls_allocate_nothing(const std::vector<std::uint8_t>& bytes) {
  fw_network* network = nullptr;
  CHECK(fw_open_memory(bytes.data(), bytes.size(), 2, nullptr, &network) == FW_OK);
  std::vector<fw_shape> in(kShapes.size()), out(static_cast<std::size_t>(fw_output_count(network)));
  for (std::size_t i = 0; i < in.size(); ++i) {
    in[i].rank = static_cast<std::int32_t>(kShapes[i].size());
    std::copy(kShapes[i].begin(), kShapes[i].end(), in[i].sizes);
  }
  CHECK(fw_prepare(network, in.data(), out.data()) == FW_OK);
  std::vector<ValueType> types;
  for (const fw_shape& shape : out) types.push_back({Dtype::kInt64, Shape(shape.sizes, shape.sizes + shape.rank)});
  const Arrays arrays(types);
  CHECK(fw_run(network, in.data(), arrays.in.data(), arrays.out.data()) == FW_OK);
  const std::int64_t before = allocations;
  CHECK(fw_run(network, in.data(), arrays.in.data(), arrays.out.data()) == FW_OK);
  CHECK(allocations == before);
  fw_close(network);
}

}  // namespace

int main() {
  const auto bytes = file();
  for (const int threads : {1, 3}) contexts_allocate_nothing(bytes, threads);
  c_calls_allocate_nothing(bytes);
  return featherweight::test::finish();
}
