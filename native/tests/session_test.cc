// Whole networks: planned over lanes, against the same graph of plain operations alone, for every instruction set.
// Each buffer has memory of its own here, so that AddressSanitizer sees what is written beyond its end; and once
// more in the arena, so that values that overlap by mistake give other numbers.
#include "plan/session.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>

#include "check.h"
#include "fw_file.h"

using namespace featherweight;
using test::constants;
using test::FwFile;
using test::kRelu;
using test::random_floats;

namespace {

struct Run {
  std::vector<ValueType> types;
  std::vector<std::vector<float>> outputs;
};

Run run(const std::shared_ptr<const Model>& model, const std::vector<Shape>& shapes,
        const std::vector<std::vector<float>>& arrays, const ContextOptions& options) {
  Run result;
  auto context = Context::create(model, options);
  CHECK(context.ok());
  const auto types = context.value()->prepare(shapes);
  if (!types.ok()) std::fprintf(stderr, "%s\n", types.status().text().c_str());
  CHECK(types.ok());
  if (!types.ok()) return result;
  result.types = types.value();
  std::vector<const void*> in;
  std::vector<void*> out;
  for (const auto& array : arrays) in.push_back(array.data());
  for (const ValueType& type : result.types)
    result.outputs.emplace_back(static_cast<std::size_t>(count(type.shape)), -77.0f);
  for (auto& output : result.outputs) out.push_back(output.data());
  for (int repeat = 0; repeat < 2; ++repeat) CHECK(context.value()->run(shapes, in, out).ok());
  return result;
}

// The largest difference, in units of the largest output.
double difference(const std::vector<float>& got, const std::vector<float>& expected) {
  double scale = 1e-3, most = 0.0;
  for (const float x : expected) scale = std::max(scale, std::abs(static_cast<double>(x)));
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) != std::isnan(expected[i])) return 1e9;
    if (got[i] != expected[i])
      most = std::max(most, std::abs(static_cast<double>(got[i]) - static_cast<double>(expected[i])));
  }
  return got.size() == expected.size() ? most / scale : 1e9;
}

void check_network(const char* name, const FwFile& file, const std::vector<Shape>& shapes) {
  const auto bytes = file.bytes();
  const auto model = Model::open_copy({bytes.data(), bytes.size()});
  if (!model.ok()) std::fprintf(stderr, "%s: %s\n", name, model.status().text().c_str());
  CHECK(model.ok());
  if (!model.ok()) return;
  std::vector<std::vector<float>> arrays;
  for (const Shape& shape : shapes) arrays.push_back(random_floats(count(shape)));
  const Run expected = run(model.value(), shapes, arrays, {1, "portable", true, true});
  for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
    const Kernels* kernels = kernels_of(isa);
    if (kernels == nullptr) continue;
    for (const bool separate : {true, false})
      for (const int threads : {1, 3}) {
        const Run got = run(model.value(), shapes, arrays, {threads, kernels->name, false, separate});
        for (std::size_t i = 0; i < expected.outputs.size() && i < got.outputs.size(); ++i) {
          const double error = difference(got.outputs[i], expected.outputs[i]);
          if (!(error < 2e-5))
            std::fprintf(stderr, "%s, output %zu, %s, %d threads, %s: %g\n", name, i, kernels->name, threads,
                         separate ? "separate" : "arena", error);
          CHECK(error < 2e-5);
        }
      }
  }
}

// A stem, residual blocks with strides, a classifier: what a ResNet is.
void residual_network(const Shape& input) {
  FwFile f;
  f.input("x", "[null, 3, null, null]");
  f.dense("w0", {8, 3, 7, 7}, random_floats(8 * 3 * 49)).dense("b0", {8}, random_floats(8));
  f.op("conv", "\"x\"", "c0", R"("strides": [2, 2], "pads": [3, 3, 3, 3], )" + kRelu, constants("w0", "b0"));
  f.op("max_pool", "\"c0\"", "s0", R"("kernel": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1])");
  std::int64_t channels = 8;
  for (int stage = 0; stage < 4; ++stage) {
    const std::string n = std::to_string(stage), x = "\"s" + n + "\"", next = std::to_string(stage + 1);
    const std::string stride = stage == 0 ? "[1, 1]" : "[2, 2]";
    const std::int64_t out = channels * 2;
    f.sparse("wa" + n, {out, channels, 3, 3}, random_floats(out * channels * 9, 0.1))
        .dense("ba" + n, {out}, random_floats(out));
    f.sparse("wb" + n, {out, out, 3, 3}, random_floats(out * out * 9, 0.1));
    f.sparse("wd" + n, {out, channels, 1, 1}, random_floats(out * channels, 0.3));
    f.op("conv", x, "a" + n, "\"strides\": " + stride + R"(, "pads": [1, 1, 1, 1], )" + kRelu,
         constants("wa" + n, "ba" + n));
    f.op("conv", x, "d" + n, "\"strides\": " + stride, constants("wd" + n));
    f.op("conv", "\"a" + n + "\", \"d" + n + "\"", "s" + next,
         R"("pads": [1, 1, 1, 1], "kernel": "sparse", )" + kRelu, constants("wb" + n));
    channels = out;
  }
  f.op("global_average_pool", "\"s4\"", "p").op("reshape", "\"p\"", "flat", R"("shape": [0, -1])");
  f.sparse("wl", {10, channels}, random_floats(10 * channels, 0.2)).dense("bl", {10}, random_floats(10));
  f.op("linear", "\"flat\"", "y", "", constants("wl", "bl")).output("y").output("s2");
  check_network("residual", f, {input});
}

// Depthwise convolutions, squeeze and excitation, activations.
void mobile_network() {
  FwFile f;
  f.input("x", "[null, 3, 21, 19]");
  f.dense("w0", {6, 3, 3, 3}, random_floats(6 * 27))
      .dense("wd", {6, 1, 3, 3}, random_floats(54))
      .dense("we", {2, 6, 1, 1}, random_floats(12));
  f.dense("wf", {6, 2, 1, 1}, random_floats(12))
      .sparse("wp", {9, 6, 1, 1}, random_floats(54, 0.3))
      .dense("wm", {12, 1, 5, 5}, random_floats(300));
  f.op("conv", "\"x\"", "a", R"("strides": [2, 2], "pads": [1, 1, 1, 1], "activation": {"kind": "hard_swish"})",
       constants("w0"));
  f.op("conv", "\"a\"", "d",
       R"("pads": [1, 1, 1, 1], "groups": 6, "activation": {"kind": "clip", "min": 0, "max": 6})", constants("wd"));
  f.op("global_average_pool", "\"d\"", "q").op("conv", "\"q\"", "e", kRelu, constants("we"));
  f.op("conv", "\"e\"", "g", R"("activation": {"kind": "sigmoid"})", constants("wf"))
      .op("mul", "\"g\", \"d\"", "m");
  f.op("conv", "\"m\"", "y", R"("kernel": "dense")", constants("wp"));
  f.op("conv", "\"m\"", "z", R"("strides": [2, 2], "pads": [2, 2, 2, 2], "groups": 6)", constants("wm"));
  check_network("mobile", f.output("y").output("z").output("d"), {{2, 3, 21, 19}});
}

// Maps joined and cut by channels, pooled in every way, and two operations that want different halos of one map.
void branching_network() {
  FwFile f;
  f.input("x", "[null, 4, 15, 17]")
      .dense("w", {6, 4, 3, 3}, random_floats(216))
      .sparse("v", {5, 10, 3, 3}, random_floats(450, 0.2));
  f.dense("scale", {10}, random_floats(10))
      .dense("shift", {10}, random_floats(10))
      .dense("g", {6, 2, 3, 1}, random_floats(36));
  f.op("conv", "\"x\"", "a", R"("pads": [1, 1, 1, 1])", constants("w"));
  f.op("max_pool", "\"a\"", "mp", R"("kernel": [3, 3], "pads": [1, 1, 1, 1])");
  f.op("average_pool", "\"a\"", "ap", R"("kernel": [3, 3], "pads": [1, 1, 1, 1])");
  f.op("average_pool", "\"a\"", "cp",
       R"("kernel": [2, 3], "strides": [2, 2], "pads": [1, 1, 0, 1], "ceil": true, "count_pads": true)");
  f.op("max_pool", "\"a\"", "dp", R"("kernel": [2, 2], "strides": [2, 2], "ceil": true)");
  f.op("add", "\"mp\", \"ap\"", "sum", kRelu).op("concat", "\"sum\", \"x\"", "cat", R"("axis": 1)");
  f.op("affine", "\"cat\"", "aff", kRelu, R"("scale": "scale", "shift": "shift")");
  f.op("conv", "\"aff\"", "y", R"("pads": [2, 2, 2, 2], "dilations": [2, 2])", constants("v"));
  f.op("slice", "\"aff\"", "part", R"("starts": [3], "ends": [9], "axes": [1], "steps": [1])");
  f.op("conv", "\"part\"", "grouped", R"("groups": 3, "strides": [3, 1], "pads": [0, 0, 2, 0])", constants("g"));
  f.op("global_max_pool", "\"cp\"", "peak")
      .op("unary", "\"dp\"", "t", R"("activation": {"kind": "tanh"})")
      .op("sub", "\"cp\", \"dp\"", "diff");
  for (const char* name : {"y", "grouped", "peak", "t", "diff", "aff", "mp"}) f.output(name);
  check_network("branching", f, {{3, 4, 15, 17}});
}

// Values that have a number for each channel, of each image or of all.
void channel_values() {
  FwFile f;
  f.input("x", "[null, 3, 9, 7]").input("all", "[1, 5, 1, 1]").input("each", "[null, 5, 1, 1]");
  f.dense("w", {5, 3, 3, 3}, random_floats(135)).op("conv", "\"x\"", "a", "", constants("w"));
  int index = 0;
  for (const char* op : {"add", "mul", "sub", "div"})
    for (const char* inputs : {"\"a\", \"all\"", "\"all\", \"a\"", "\"a\", \"each\""}) {
      const std::string y = "y" + std::to_string(index++);
      f.op(op, inputs, y, kRelu).output(y);
    }
  check_network("channel values", f, {{3, 3, 9, 7}, {1, 5, 1, 1}, {3, 5, 1, 1}});
}

// A block of ConvNeXt, and the same norm over rows, which is a plain operation.
void normalizing_network(const Shape& input) {
  FwFile f;
  f.input("x", "[null, 4, null, null]")
      .dense("w", {6, 4, 2, 2}, random_floats(96))
      .dense("d", {6, 1, 7, 7}, random_floats(294))
      .dense("p", {6, 6, 1, 1}, random_floats(36));
  f.op("conv", "\"x\"", "a", R"("strides": [2, 2])", constants("w"));
  f.op("conv", "\"a\"", "b", R"("pads": [3, 3, 3, 3], "groups": 6)", constants("d"));
  f.op("normalize", "\"b\"", "n", R"("axis": 1, "epsilon": 0.01)");
  f.op("conv", "\"n\", \"a\"", "y", R"("activation": {"kind": "gelu"})", constants("p"));
  f.op("normalize", "\"y\"", "rows", R"("axis": 3, "epsilon": 0.1)");
  check_network("normalizing", f.output("y").output("rows").output("n"), {input});
}

// Sums that begin with a residual, in its memory: but not where it is read later, is an output, or is the input too.
void residuals_that_live_on() {
  FwFile f;
  f.input("x", "[null, 6, null, null]").sparse("w", {6, 6, 3, 3}, random_floats(324, 0.2));
  f.sparse("p", {6, 6, 1, 1}, random_floats(36, 0.5));
  const auto conv = [&](const std::string& inputs, const std::string& output) {
    f.op("conv", inputs, output, R"("pads": [1, 1, 1, 1], "kernel": "sparse", "blocks": [4, 2])", constants("w"));
  };
  conv("\"x\"", "a");
  conv("\"a\"", "b");
  conv("\"b\", \"a\"", "c");  // a is read later
  conv("\"c\", \"b\"", "d");  // b is not
  conv("\"d\", \"d\"", "e");
  conv("\"e\", \"c\"", "g");  // c is an output
  f.op("add", "\"a\", \"g\"", "h").op("unary", "\"h\"", "i", kRelu).op("mul", "\"h\", \"i\"", "j");
  f.op("conv", "\"j\", \"i\"", "y", R"("kernel": "sparse")", constants("p"));
  check_network("residuals", f.output("y").output("c"), {{2, 6, 13, 9}});
}

// Halves of a map go different ways and are shuffled together: in lanes, and as plain arrays.
void shuffling_network(const Shape& input) {
  FwFile f;
  f.input("x", "[null, 4, null, null]")
      .dense("w", {8, 4, 3, 3}, random_floats(288))
      .dense("d", {4, 1, 3, 3}, random_floats(36))
      .dense("p", {4, 4, 1, 1}, random_floats(16));
  f.op("conv", "\"x\"", "s0", R"("strides": [2, 2], "pads": [1, 1, 1, 1])", constants("w"));
  for (int unit = 0; unit < 3; ++unit) {
    const std::string n = std::to_string(unit), x = "\"s" + n + "\"";
    f.op("slice", x, "l" + n, R"("starts": [0], "ends": [4], "axes": [1], "steps": [1])")
        .op("slice", x, "r" + n, R"("starts": [4], "ends": [8], "axes": [1], "steps": [1])");
    f.op("conv", "\"r" + n + "\"", "d" + n, R"("pads": [1, 1, 1, 1], "groups": 4)", constants("d"));
    f.op("conv", "\"d" + n + "\"", "p" + n, kRelu, constants("p"));
    f.op("concat", "\"l" + n + "\", \"p" + n + "\"", "c" + n, R"("axis": 1)");
    f.op("channel_shuffle", "\"c" + n + "\"", "s" + std::to_string(unit + 1), R"("groups": 2)");
  }
  f.op("channel_shuffle", "\"x\"", "plain", R"("groups": 4)");
  check_network("shuffling", f.output("s3").output("s1").output("plain"), {input});
}

// Constants that broadcast over channels, either way around.
void channel_constants() {
  FwFile f;
  f.input("x", "[null, 3, 6, 6]")
      .dense("w", {4, 3, 1, 1}, random_floats(12))
      .dense("c", {4, 1, 1}, {1, 2, 3, 4})
      .dense("one", {}, {2});
  f.dense("row", {6}, random_floats(6)).op("conv", "\"x\"", "a", "", constants("w"));
  int index = 0;
  for (const char* op : {"add", "sub", "mul", "div"})
    for (const char* b : {"c", "one", "row"})
      for (const char* swapped : {"true", "false"}) {
        const std::string y = "y" + std::to_string(index++);
        f.op(op, "\"a\"", y, std::string("\"swapped\": ") + swapped, std::string("\"b\": \"") + b + "\"").output(y);
      }
  check_network("channel constants", f, {{2, 3, 6, 6}});
}

// Numbers of each channel that are computed, or given, either way around: in lanes, but where the map divides.
void channel_values(const Shape& input) {
  FwFile f;
  f.input("x", "[null, 3, null, null]").input("g", "[1, 4, 1, 1]").dense("w", {4, 3, 3, 3}, random_floats(108));
  f.op("conv", "\"x\"", "a", R"("pads": [1, 1, 1, 1], "activation": {"kind": "sigmoid"})", constants("w"))
      .op("global_max_pool", "\"a\"", "most");
  std::vector<std::string> in_lanes, names;
  for (const std::string op : {"add", "sub", "mul", "div"})
    for (const std::string numbers : {"most", "g"})
      for (const bool first : {false, true}) {
        const std::string y = op + numbers + (first ? "1" : "0"), n = '"' + numbers + '"';
        f.op(op, first ? n + ", \"a\"" : "\"a\", " + n, y, first ? kRelu : "").output(y);
        names.push_back(y);
        if (op != "div" || !first) in_lanes.push_back(y);
      }
  const Shape given{1, 4, 1, 1};
  check_network("channel values", f, {input, given});
  const auto bytes = f.bytes();
  const auto model = Model::open_copy({bytes.data(), bytes.size()}).value();
  const auto context = Context::create(model, {1, "", false, false}).value();
  const auto x = random_floats(count(input)), g = random_floats(4);
  const auto rows = context->profile({input, given}, {x.data(), g.data()}, 1).value();
  for (const std::string& name : names) {
    const bool found = std::any_of(rows.begin(), rows.end(), [&](const ProfileRow& row) {
      return row.operation == name && row.kernel == "lane_affine";
    });
    CHECK(found == (std::find(in_lanes.begin(), in_lanes.end(), name) != in_lanes.end()));
  }
}

// Attention over tokens, and what else runs over plain arrays.
void token_network() {
  FwFile f;
  f.input("x", "[null, 9, 8]")
      .sparse("wq", {8, 8}, random_floats(64, 0.3))
      .dense("wk", {8, 8}, random_floats(64))
      .dense("b", {8}, random_floats(8));
  f.op("linear", "\"x\"", "q", "", constants("wq", "b"))
      .op("linear", "\"x\"", "k", R"("kernel": "dense")", constants("wk"));
  f.op("transpose", "\"k\"", "kt", R"("permutation": [0, 2, 1])").op("matmul", "\"q\", \"kt\"", "s");
  f.op("softmax", "\"s\"", "p", R"("axis": 2)").op("matmul", "\"p\", \"x\"", "o");
  f.op("linear", "\"o\", \"x\"", "r", R"("activation": {"kind": "gelu"})", constants("wk", "b"));
  f.op("reduce_mean", "\"r\"", "m", R"("axes": [1], "keep": false)")
      .op("slice", "\"r\"", "sl", R"("starts": [-1], "ends": [-100], "axes": [1], "steps": [-2])");
  f.op("concat", "\"r\", \"sl\"", "cat", R"("axis": 1)")
      .op("pad", "\"m\"", "padded", R"("pads": [0, 1, 0, 2], "value": 3)");
  f.op("log_softmax", "\"s\"", "lp", R"("axis": 1)");
  for (const char* name : {"m", "cat", "padded", "p", "lp"}) f.output(name);
  check_network("tokens", f, {{2, 9, 8}});
}

// Between maps in lanes, operations that are not: resize, pad, depth to space, a transposed convolution.
void leaving_and_entering() {
  FwFile f;
  f.input("x", "[1, 4, 9, 7]")
      .dense("w", {4, 4, 3, 3}, random_floats(144))
      .dense("t", {4, 3, 2, 2}, random_floats(48));
  f.op("conv", "\"x\"", "a", R"("pads": [1, 1, 1, 1])", constants("w"));
  f.op("resize", "\"a\"", "up", R"("scales": [2.0, 2.0], "mode": "linear")")
      .op("conv", "\"up\"", "b", kRelu, constants("w"));
  f.op("pad", "\"b\"", "pd", R"("pads": [0, 0, 1, 2, 0, 0, 3, 1], "mode": "reflect")")
      .op("conv", "\"pd\"", "c", R"("strides": [2, 2])", constants("w"));
  f.op("depth_to_space", "\"c\"", "d2s", R"("block": 2)")
      .op("conv_transpose", "\"c\"", "ct", R"("strides": [2, 2])", constants("t"));
  f.op("reshape", "\"c\"", "flat", R"("shape": [1, -1])");
  for (const char* name : {"d2s", "ct", "flat", "a"}) f.output(name);
  check_network("leaving and entering", f, {{1, 4, 9, 7}});
}

// Inputs as outputs, and an output that another is a shape of.
void outputs_that_nothing_writes() {
  FwFile f;
  f.input("x", "[2, 3]")
      .input("z", "[6]")
      .op("reshape", "\"x\"", "r", R"("shape": [3, 2])")
      .op("add", "\"x\", \"x\"", "d")
      .op("reshape", "\"d\"", "e", R"("shape": [6])");
  for (const char* name : {"x", "r", "d", "e", "z"}) f.output(name);
  check_network("outputs", f, {{2, 3}, {6}});
}

void empty_arrays() {
  FwFile f;
  f.input("x", "[null, 3, 8, 8]")
      .dense("w", {4, 3, 3, 3}, random_floats(108))
      .op("conv", "\"x\"", "a", "", constants("w"));
  f.op("global_average_pool", "\"a\"", "p").op("reshape", "\"p\"", "y", R"("shape": [0, 4])").output("y");
  check_network("empty", f, {{0, 3, 8, 8}});
}

// Strides and windows that lanes are not made for.
void unusual_windows() {
  FwFile f;
  f.input("x", "[1, 2, 40, 40]")
      .dense("w", {3, 2, 1, 1}, random_floats(6))
      .dense("v", {2, 3, 1, 2}, random_floats(12));
  f.op("conv", "\"x\"", "a", R"("strides": [1048576, 19])", constants("w"));
  f.op("conv", "\"a\"", "y", R"("pads": [0, 1000000, 0, 1000000], "dilations": [1, 1048576])", constants("v"));
  f.op("max_pool", "\"x\"", "p", R"("kernel": [2, 2], "strides": [2, 30])");
  check_network("unusual", f.output("a").output("y").output("p"), {{1, 2, 40, 40}});
}

// The same convolution in every setting; pictures smaller than the lanes, and windows larger than the pictures.
void random_convolutions() {
  const auto pick = [](int low, int high) { return std::uniform_int_distribution<int>(low, high)(test::numbers()); };
  for (int round = 0; round < 60; ++round) {
    const int groups = pick(0, 2) == 0 ? pick(2, 4) : 1, in = groups * pick(1, 5), out = groups * pick(1, 6);
    const int kh = pick(1, 4), kw = pick(1, 4), h = pick(1, 20), w = pick(1, 20), dilation = pick(1, 2);
    const auto four = [&](int least) { return std::to_string(least + pick(0, 2)); };
    const int needed = std::max(0, dilation * (std::max(kh, kw) - 1) + 1 - std::min(h, w));
    FwFile f;
    f.input("x", "[null, " + std::to_string(in) + ", null, null]")
        .sparse("w", {out, in / groups, kh, kw}, random_floats(std::int64_t{out} * in / groups * kh * kw, 0.4));
    f.sparse("v", {3, out, 1, 1}, random_floats(3 * out, 0.5));
    f.op("conv", "\"x\"", "a",
         "\"strides\": [" + four(1) + ", " + four(1) + "], \"pads\": [" + four(needed) + ", " + four(needed) +
             ", " + four(0) + ", " + four(0) + "], \"dilations\": [" + std::to_string(dilation) + ", " +
             std::to_string(dilation) + "], \"groups\": " + std::to_string(groups) +
             (pick(0, 1) == 0 ? ", \"kernel\": \"sparse\"" : ", \"kernel\": \"dense\""),
         constants("w"));
    f.op("conv", "\"a\"", "y", "\"strides\": [2, 1]", constants("v")).output("y").output("a");
    check_network(("random " + std::to_string(round)).c_str(), f, {{pick(1, 5), in, h, w}});
  }
}

void wrong_settings_are_refused() {
  FwFile f;
  f.input("x", "[2, 3]").op("add", "\"x\", \"x\"", "y").output("y");
  const auto bytes = f.bytes();
  const auto model = Model::open_copy({bytes.data(), bytes.size()});
  CHECK(Context::create(model.value(), {0, "", false, false}).status().code() == Code::kArgument);
  const Status isa = Context::create(model.value(), {1, "mmx", false, false}).status();
  CHECK(isa.code() == Code::kUnsupported && isa.text().find("portable") != std::string::npos);
  auto context = Context::create(model.value(), {});
  CHECK(context.value()->prepare({{2, 4}}).status().code() == Code::kShape);
  CHECK(context.value()->prepare({}).status().code() == Code::kArgument);
  CHECK(context.value()->run({{2, 3}}, {nullptr}, {}).code() == Code::kArgument);
  CHECK(Model::open_path("/there/is/no/such/file").status().code() == Code::kIo);
}

}  // namespace

int main() {
  for (const Shape& input : {Shape{1, 3, 64, 64}, Shape{1, 3, 56, 50}, Shape{3, 3, 33, 47}, Shape{17, 3, 32, 32}})
    residual_network(input);
  mobile_network();
  branching_network();
  channel_values();
  normalizing_network({1, 4, 30, 27});
  normalizing_network({5, 4, 12, 12});
  residuals_that_live_on();
  shuffling_network({1, 4, 21, 19});
  shuffling_network({3, 4, 9, 14});
  channel_constants();
  channel_values({1, 3, 6, 6});
  channel_values({3, 3, 7, 9});
  token_network();
  leaving_and_entering();
  outputs_that_nothing_writes();
  empty_arrays();
  unusual_windows();
  random_convolutions();
  wrong_settings_are_refused();
  return test::finish();
}
