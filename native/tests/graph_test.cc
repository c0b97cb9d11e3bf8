// Graphs that are not what they should be, and the shapes of every operation.
#include "plan/graph.h"

#include "check.h"
#include "fw_file.h"
#include "plan/shapes.h"

using namespace featherweight;
using test::FwFile;

namespace {

FwFile with_constants() {
  FwFile f;
  f.input("x", "[2, 4, 6, 6]").input("t", "[2, 5, 4]").input("i", "[2, 3]", "int64");
  f.dense("w", {8, 4, 3, 3}, std::vector<float>(288))
      .dense("g", {8, 2, 3, 3}, std::vector<float>(144))
      .dense("b8", {8}, std::vector<float>(8));
  f.dense("v4", {4, 2, 3, 3}, std::vector<float>(72));
  return f.dense("m", {7, 4}, std::vector<float>(28)).dense("c4", {4}, std::vector<float>(4));
}

// The shape of one operation's output, or why there is none.
struct Got {
  std::optional<Shape> shape;
  std::string why;
};
Got shape_of(const std::string& op, const std::string& inputs, const std::string& attributes = "",
             const std::string& constants = "") {
  FwFile f = with_constants();
  f.op(op, inputs, "y", attributes, constants).output("y");
  auto graph = parse_graph(f.graph());
  if (!graph.ok()) return {std::nullopt, graph.status().text()};
  auto types = infer_types(graph.value(), {{2, 4, 6, 6}, {2, 5, 4}, {2, 3}});
  if (!types.ok()) return {std::nullopt, types.status().text()};
  return {types.value().back().shape, ""};
}

void shape(const Got& got, const Shape& expected) {
  if (got.shape != expected)
    std::fprintf(stderr, "expected %s, got %s\n", text_of(expected).c_str(),
                 got.shape ? text_of(*got.shape).c_str() : got.why.c_str());
  CHECK(got.shape == expected);
}
void refused(const Got& got, const std::string& words) {
  const bool as_expected = !got.shape && got.why.find(words) != std::string::npos;
  if (!as_expected) std::fprintf(stderr, "expected \"%s\", got %s\n", words.c_str(), got.why.c_str());
  CHECK(as_expected);
}

void shapes_are_inferred() {
  shape(shape_of("conv", "\"x\"", R"("pads": [1, 1, 1, 1], "strides": [2, 1])", R"("weight": "w", "bias": "b8")"),
        {2, 8, 3, 6});
  shape(shape_of("conv", "\"x\"", R"("dilations": [2, 2])", R"("weight": "w")"), {2, 8, 2, 2});
  shape(shape_of("conv", "\"x\"", R"("groups": 2)", R"("weight": "g")"), {2, 8, 4, 4});
  shape(shape_of("linear", "\"t\"", "", R"("weight": "m")"), {2, 5, 7});
  shape(shape_of("max_pool", "\"x\"", R"("kernel": [3, 2], "strides": [2, 2])"), {2, 4, 2, 3});
  shape(shape_of("max_pool", "\"x\"", R"("kernel": [3, 2], "strides": [2, 3], "ceil": true)"), {2, 4, 3, 2});
  shape(shape_of("average_pool", "\"x\"", R"("kernel": [1, 1], "strides": [4, 7], "ceil": true)"), {2, 4, 2, 1});
  shape(shape_of("global_max_pool", "\"x\""), {2, 4, 1, 1});
  shape(shape_of("mul", "\"t\"", R"("swapped": true)", R"("b": "c4")"), {2, 5, 4});
  shape(shape_of("concat", "\"x\", \"x\"", R"("axis": 1)"), {2, 8, 6, 6});
  shape(shape_of("slice", "\"t\"",
                 R"("starts": [-3, 9], "ends": [2147483647, -9], "axes": [1, 2], "steps": [2, -1])"),
        {2, 2, 4});
  shape(shape_of("pad", "\"t\"", R"("pads": [0, 1, -1, 0, 2, 0])"), {2, 8, 3});
  shape(shape_of("resize", "\"x\"", R"("scales": [1.5, 0.5], "mode": "linear")"), {2, 4, 9, 3});
  shape(shape_of("reshape", "\"x\"", R"("shape": [0, -1, 9])"), {2, 16, 9});
  shape(shape_of("transpose", "\"t\"", R"("permutation": [2, 0, 1])"), {4, 2, 5});
  shape(shape_of("reduce_mean", "\"x\"", R"("axes": [2, 3], "keep": false)"), {2, 4});
  shape(shape_of("softmax", "\"t\"", R"("axis": 1)"), {2, 5, 4});
  shape(shape_of("log_softmax", "\"t\"", R"("axis": 2)"), {2, 5, 4});
  shape(shape_of("depth_to_space", "\"x\"", R"("block": 2)"), {2, 1, 12, 12});
  shape(shape_of("normalize", "\"t\"", R"("axis": 2, "epsilon": 1e-5)"), {2, 5, 4});
  shape(shape_of("channel_shuffle", "\"x\"", R"("groups": 2)"), {2, 4, 6, 6});
  shape(shape_of("arg_max", "\"t\"", R"("axis": 1)"), {2, 1, 4});
  shape(shape_of("cast", "\"i\"", R"("dtype": "float32")"), {2, 3});
  shape(shape_of("conv_transpose", "\"x\"", R"("strides": [2, 1], "groups": 2, "output_pads": [1, 0])",
                 R"("weight": "v4")"),
        {2, 4, 14, 8});
}

void shapes_that_do_not_fit_are_refused() {
  refused(shape_of("conv", "\"x\"", R"("groups": 2)", R"("weight": "w")"),
          "conv y: expected (N, C, H, W), a weight (M, C / 2");
  refused(shape_of("conv", "\"x\"", "", R"("weight": "w", "bias": "c4")"),
          "got (2, 4, 6, 6); constant (8, 4, 3, 3); constant (4)");
  refused(shape_of("conv", "\"x\"", R"("dilations": [3, 3])", R"("weight": "w")"), "kernel fits into");
  refused(shape_of("conv", "\"x\", \"x\"", "", R"("weight": "w")"), "residual of the output's shape (2, 8, 4, 4)");
  refused(shape_of("max_pool", "\"x\"", R"("kernel": [1, 1], "pads": [1, 0, 0, 0])"), "padding smaller");
  refused(shape_of("add", "\"x\", \"t\""), "broadcast");
  refused(shape_of("add", "\"x\"", "", R"("b": "m")"), "broadcast");
  refused(shape_of("matmul", "\"t\", \"t\""), "numpy's matmul");
  refused(shape_of("conv_transpose", "\"x\"", "", R"("weight": "w")"), "a weight (C, M / 1");
  refused(shape_of("reshape", "\"x\"", R"("shape": [7, -1])"), "as many elements");
  refused(shape_of("transpose", "\"x\"", R"("permutation": [0, 1])"), "as many axes");
  refused(shape_of("concat", "\"x\", \"t\"", R"("axis": 1)"), "as many axes");
  refused(shape_of("depth_to_space", "\"x\"", R"("block": 3)"), "multiple of 9");
  refused(shape_of("normalize", "\"t\"", R"("axis": 3, "epsilon": 0)"), "an axis 3");
  refused(shape_of("channel_shuffle", "\"x\"", R"("groups": 3)"), "multiple of 3");
  refused(shape_of("reduce_mean", "\"x\"", R"("axes": [1, 1])"), "each once");
  refused(shape_of("add", "\"i\", \"i\""), "expected float32, got int64");
  refused(shape_of("pad", "\"x\"", R"("pads": [0, 0, 0, 0, 2147483647, 2147483647, 2147483647, 2147483647])"),
          "within limits");
}

// What the reader in Python refuses too.
void attributes_that_are_missing_are_refused() {
  const auto missing = [](const std::string& op, const std::string& attributes, const std::string& name) {
    refused(shape_of(op, "\"x\"", attributes), "attribute \"" + name + "\" should be ");
    refused(shape_of(op, "\"x\"", attributes), "and is missing");
  };
  missing("max_pool", "", "kernel");
  missing("average_pool", R"("strides": [1, 1])", "kernel");
  missing("concat", "", "axis");
  missing("slice", R"("ends": [1], "axes": [0], "steps": [1])", "starts");
  missing("slice", R"("starts": [0], "axes": [0], "steps": [1])", "ends");
  missing("slice", R"("starts": [0], "ends": [1], "steps": [1])", "axes");
  missing("slice", R"("starts": [0], "ends": [1], "axes": [0])", "steps");
  missing("pad", "", "pads");
  missing("resize", R"("scales": [1, 1])", "mode");
  missing("reshape", "", "shape");
  missing("transpose", "", "permutation");
  missing("reduce_mean", "", "axes");
  missing("softmax", "", "axis");
  missing("log_softmax", "", "axis");
  missing("normalize", R"("epsilon": 0)", "axis");
  missing("normalize", R"("axis": 1)", "epsilon");
  missing("depth_to_space", "", "block");
  missing("channel_shuffle", "", "groups");
  missing("arg_max", "", "axis");
  missing("cast", "", "dtype");
  refused(shape_of("conv", "\"x\"", R"("activation": null)", R"("weight": "w")"), "\"activation\" should be");
}

void axes_count_from_the_front() {
  for (const std::string op : {"concat", "softmax", "arg_max"})
    refused(shape_of(op, "\"x\"", R"("axis": -1)"), "\"axis\" should be a whole number from 0 to 7");
  refused(shape_of("normalize", "\"x\"", R"("axis": -1, "epsilon": 0)"), "\"axis\" should be a whole number");
  refused(shape_of("reduce_mean", "\"x\"", R"("axes": [1, -1])"), "\"axes\" should be whole numbers from 0 to 7");
  refused(shape_of("slice", "\"x\"", R"("starts": [0], "ends": [1], "axes": [-1], "steps": [1])"),
          "\"axes\" should be whole numbers from 0 to 7");
  refused(shape_of("concat", "\"x\"", R"("axis": 4)"), "an axis 4");
}

void graphs_that_are_wrong_are_refused() {
  refused(shape_of("conf", "\"x\""), "unknown operation \"conf\"; there are: conv, ");
  refused(shape_of("conv", "\"x\""), "constant \"weight\" is missing");
  refused(shape_of("conv", "\"x\"", "", R"("weight": "nothing")"), "not one of the graph's");
  refused(shape_of("conv", "\"x\"", "", R"("weight": "w", "scale": "c4")"), "takes no constant \"scale\"");
  refused(shape_of("conv", "\"x\"", R"("stride": [1, 1])", R"("weight": "w")"), "unknown attribute \"stride\"");
  refused(shape_of("conv", "\"x\"", R"("strides": [0, 1])", R"("weight": "w")"), "\"strides\" should be");
  refused(shape_of("conv", "\"x\"", R"("strides": [1])", R"("weight": "w")"), "2 whole numbers");
  refused(shape_of("conv", "\"x\"", R"("activation": {"kind": "clip", "min": 0})", R"("weight": "w")"), "\"max\"");
  refused(shape_of("conv", "\"x\"", R"("activation": {"kind": "relu", "min": 0})", R"("weight": "w")"),
          "activation relu: unknown attribute");
  refused(shape_of("unary", "\"x\""), "\"activation\" should be an object");
  refused(shape_of("add", "\"x\""), "takes two inputs, or one and the constant");
  refused(shape_of("unary", "\"x\", \"x\"", R"("activation": {"kind": "relu"})"), "takes 1 inputs, got 2");
  refused(shape_of("unary", "\"y\"", R"("activation": {"kind": "relu"})"), "not defined before");
  refused(shape_of("max_pool", "\"x\"", R"("kernel": [2, 2], "ceil": 1)"), "true or false");
  refused(shape_of("resize", "\"x\"", R"("scales": [1, 1], "sizes": [1, 1])"), "not both");
  refused(shape_of("resize", "\"x\"", R"("scales": [1, 1], "mode": "cubic")"), "one of nearest, linear");
  refused(shape_of("reshape", "\"x\"", R"("shape": [-1, -1])"), "at most one -1");
  refused(shape_of("transpose", "\"t\"", R"("permutation": [0, 0, 1])"), "each of 0 .. rank - 1 once");
  FwFile twice = with_constants();
  twice.op("unary", "\"x\"", "x", R"("activation": {"kind": "relu"})").output("x");
  CHECK(parse_graph(twice.graph()).status().text().find("defined twice") != std::string::npos);
  FwFile named = with_constants();
  const std::string relu = R"("activation": {"kind": "relu"})";
  const std::string both = named.op("unary", "\"x\"", "y", relu).op("unary", "\"x\"", "z", relu).output("y").graph();
  const auto with_name = [&](const std::string& name) {
    const std::string old = R"("name": "z")";
    return parse_graph(std::string(both).replace(both.find(old), old.size(), name)).status().text();
  };
  CHECK(with_name(R"("name": "other")").empty());
  CHECK(with_name(R"("name": "y")").find("another operation has its name") != std::string::npos);
  CHECK(with_name(R"("name": 5)").find("\"name\" should be a string") != std::string::npos);
  FwFile doubled = with_constants();
  doubled.op("unary", "\"x\"", "y", relu).output("y").output("x").output("y");
  CHECK(parse_graph(doubled.graph()).status().text().find("output \"y\" stands twice") != std::string::npos);
  FwFile open = with_constants();
  CHECK(parse_graph(open.output("z").graph()).status().text().find("\"z\" is not defined") != std::string::npos);
}

// Whoever measures finds its layers by name; messages have the beginning.
void long_names_are_kept() {
  const std::string name = std::string(199, 'n') + "\u00e9" + std::string(100, 'n');
  const std::string relu = R"("activation": {"kind": "relu"})";
  const auto graph = parse_graph(with_constants().op("unary", "\"x\"", name, relu).output(name).graph());
  CHECK(graph.ok());
  CHECK(graph.value().operations[0].name == name);
  CHECK(graph.value().operations[0].title() == "unary " + std::string(199, 'n'));  // no half of a character
  CHECK(quoted(std::string(119, 'n') + "\u00e9") == '"' + std::string(119, 'n') + "...\"");
  CHECK(quoted("\u00e9") == "\"\u00e9\"");
}

void unknown_sizes_are_told() {
  FwFile f;
  f.input("x", "[null, 3, null, null]")
      .op("global_average_pool", "\"x\"", "p")
      .op("reshape", "\"p\"", "y", R"("shape": [0, -1])");
  const auto graph = parse_graph(f.output("y").output("x").graph());
  const auto types = partial_output_types(graph.value());
  CHECK((types[0].shape == Shape{kUnknown, 3}));
  CHECK((types[1].shape == Shape{kUnknown, 3, kUnknown, kUnknown}));
}

}  // namespace

int main() {
  shapes_are_inferred();
  shapes_that_do_not_fit_are_refused();
  attributes_that_are_missing_are_refused();
  axes_count_from_the_front();
  graphs_that_are_wrong_are_refused();
  long_names_are_kept();
  unknown_sizes_are_told();
  return test::finish();
}
