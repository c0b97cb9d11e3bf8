// Files that are not what they should be: each is refused, in words, and none does harm.
#include "plan/file.h"

#include <cstring>
#include <memory>
#include <random>

#include "check.h"
#include "fw_file.h"
#include "plan/session.h"

using namespace featherweight;
using test::FwFile;
using Data = std::vector<std::uint8_t>;

namespace {

FwFile small_network() {
  FwFile file;
  std::vector<float> weight(4 * 3 * 3 * 3);
  for (std::size_t i = 0; i < weight.size(); i += 3) weight[i] = static_cast<float>(i) * 0.01f - 0.3f;
  file.input("x", "[null, 3, 8, 8]").sparse("w", {4, 3, 3, 3}, weight).dense("b", {4}, {1, 2, 3, 4});
  file.dense("w2", {2, 4}, {1, -1, 2, -2, 3, -3, 4, -4});
  file.op("conv", "\"x\"", "a", R"("pads": [1, 1, 1, 1], "activation": {"kind": "relu"})",
          R"("weight": "w", "bias": "b")");
  file.op("global_average_pool", "\"a\"", "p").op("reshape", "\"p\"", "f", R"("shape": [0, -1])");
  return file.op("linear", "\"f\"", "y", "", R"("weight": "w2")").output("y");
}

// Every operation once, so that numbers of all attributes are changed.
FwFile every_operation() {
  FwFile f;
  f.input("x", "[null, 3, 8, 8]").dense("w", {6, 3, 3, 3}, std::vector<float>(162, 0.1f));
  f.dense("g", {6, 2, 3, 3}, std::vector<float>(108, 0.1f)).dense("t", {6, 2, 2, 2}, std::vector<float>(48, 0.1f));
  f.dense("s", {6}, {1, 2, 3, 4, 5, 6}).dense("m", {5, 8}, std::vector<float>(40, 0.1f));
  const std::string window = R"("strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1], "groups": )";
  f.op("conv", "\"x\"", "a", window + R"(1, "kernel": "sparse", "blocks": [4, 8])", R"("weight": "w")");
  f.op("conv", "\"a\"", "b", window + R"(3, "activation": {"kind": "clip", "min": 0, "max": 6})",
       R"("weight": "g")");
  f.op("conv_transpose", "\"b\"", "c", R"("strides": [2, 2], "groups": 2, "output_pads": [1, 1])",
       R"("weight": "t")");
  f.op("max_pool", "\"b\"", "d",
       R"("kernel": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "dilations": [1, 1])");
  f.op("average_pool", "\"b\"", "e", R"("kernel": [2, 2], "strides": [2, 2], "ceil": true, "count_pads": true)");
  f.op("concat", "\"d\", \"e\"", "f", R"("axis": 1)")
      .op("slice", "\"f\"", "h", R"("starts": [2], "ends": [8], "axes": [1], "steps": [1])");
  f.op("affine", "\"h\"", "i", "", R"("scale": "s", "shift": "s")")
      .op("global_max_pool", "\"i\"", "j")
      .op("mul", "\"i\", \"j\"", "k");
  f.op("resize", "\"k\"", "l", R"("scales": [2.0, 2.0], "mode": "linear")")
      .op("resize", "\"k\"", "l2", R"("sizes": [5, 7], "mode": "nearest")");
  f.op("pad", "\"l\"", "n", R"("pads": [0, 0, 1, 1, 0, 0, 1, 1], "mode": "reflect")")
      .op("reduce_mean", "\"n\"", "o", R"("axes": [2, 3])");
  f.op("linear", "\"a\"", "p", "", R"("weight": "m")")
      .op("transpose", "\"p\"", "q", R"("permutation": [0, 1, 3, 2])");
  f.op("matmul", "\"p\", \"q\"", "r")
      .op("softmax", "\"r\"", "u", R"("axis": 3)")
      .op("arg_max", "\"u\"", "v", R"("axis": 1)");
  f.op("reshape", "\"u\"", "y", R"("shape": [0, 24, -1])").op("cast", "\"y\"", "z", R"("dtype": "uint8")");
  f.dense("p", {4, 3, 1, 1}, std::vector<float>(12, 0.5f)).op("conv", "\"x\"", "a4", "", R"("weight": "p")");
  f.op("depth_to_space", "\"a4\"", "ds", R"("block": 2)");
  for (const char* name : {"c", "l2", "o", "v", "z", "ds", "y"}) f.output(name);
  return f;
}

// At its exact size, so that AddressSanitizer sees one byte too many.
Status open(const Data& data) {
  const auto exact = std::make_unique<std::uint8_t[]>(data.size());
  if (!data.empty()) std::memcpy(exact.get(), data.data(), data.size());
  const auto model = Model::open({exact.get(), data.size()}, nullptr);
  if (!model.ok()) return model.status();
  auto context = Context::create(model.value(), {});
  if (!context.ok()) return context.status();
  const std::vector<float> x(2 * 3 * 8 * 8, 0.5f);
  std::vector<Shape> shapes(model.value()->graph().inputs.size(), Shape{2, 3, 8, 8});
  const auto types = context.value()->prepare(shapes);
  if (!types.ok()) return types.status();
  std::vector<std::vector<std::uint8_t>> outputs;
  std::vector<void*> pointers;
  for (const ValueType& type : types.value()) {
    outputs.emplace_back(static_cast<std::size_t>(count(type.shape)) * info_of(type.dtype).bytes + 1);
    pointers.push_back(outputs.back().data());
  }
  for (const GraphInput& input : model.value()->graph().inputs)
    if (input.dtype != Dtype::kFloat32) return {};
  return context.value()->run(shapes, std::vector<const void*>(shapes.size(), x.data()), pointers);
}

bool refuses(const Data& data, Code code, const char* words) {
  const Status status = open(data);
  const bool as_expected = status.code() == code && status.text().find(words) != std::string::npos;
  if (!as_expected)
    std::fprintf(stderr, "expected \"%s\", got %d: %s\n", words, static_cast<int>(status.code()),
                 status.text().c_str());
  return as_expected;
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  const auto at = text.find(what);
  CHECK(at != std::string::npos);
  return at == std::string::npos ? text : text.replace(at, what.size(), with);
}

void a_valid_file_opens() {
  for (const FwFile& file : {small_network(), every_operation()}) {
    const Status status = open(file.bytes());
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.text().c_str());
    CHECK(status.ok());
  }
}

void the_outside_is_checked() {
  const FwFile file = small_network();
  const auto with = [&](const std::string& what, const std::string& other) {
    return FwFile::assemble(replaced(file.header(file.graph()), what, other), file.body());
  };
  CHECK(refuses({}, Code::kFile, "8 bytes"));
  CHECK(refuses(Data(8, 255), Code::kFile, "header's length"));
  CHECK(refuses(FwFile::assemble("[]      ", {}), Code::kFile, "does not begin with '{'"));
  CHECK(refuses(with("featherweight.fw\"", "other\""), Code::kFile, "\"format\""));
  CHECK(refuses(with("\"version\": \"1\"", "\"version\": \"2\""), Code::kFile, "newer featherweight"));
  CHECK(refuses(with("\"featherweight.graph\"", "\"graph\""), Code::kFile, "featherweight.graph"));
  CHECK(refuses(with("\"F32\"", "\"F64\""), Code::kFile, "\"dtype\""));
  CHECK(refuses(with("\"data_offsets\": [0, ", "\"data_offsets\": [1, "), Code::kFile, "takes"));
  CHECK(refuses(with("\"data_offsets\": [0, ", "\"data_offsets\": [-1, "), Code::kFile, "data_offsets"));
  CHECK(
      refuses(with("\"shape\": [2, 4]", "\"shape\": [9223372036854775807, 4]"), Code::kFile, "too many elements"));
  CHECK(refuses(with("\"shape\": [2, 4]", "\"shape\": [-2, -4]"), Code::kFile, "negative"));
  CHECK(refuses(with("\"b\": {\"dtype\"", "\"w2\": {\"dtype\""), Code::kFile, "twice"));
  Data longer = file.bytes();
  longer.push_back(0);
  CHECK(refuses(longer, Code::kFile, "of a body of"));
  Data shorter = file.bytes();
  shorter.pop_back();
  CHECK(refuses(shorter, Code::kFile, "beyond the file"));
}

void constants_are_held_against_the_graph() {
  const FwFile file = small_network();
  const auto with = [&](const std::string& what, const std::string& other) {
    return FwFile::assemble(file.header(replaced(file.graph(), what, other)), file.body());
  };
  CHECK(
      refuses(with("\"b\": {\"shape\": [4]", "\"b\": {\"shape\": [5]"), Code::kFile, "should have the shape (5)"));
  CHECK(refuses(with("[4, 3, 3, 3], \"storage\": \"sparse\"", "[4, 3, 3, 1], \"storage\": \"sparse\""), Code::kFile,
                "gaps are not valid"));
  CHECK(refuses(with("[4, 3, 3, 3], \"storage\": \"sparse\"", "[4, 3, 3, 3], \"storage\": \"dense\""), Code::kFile,
                "no tensor \"w\""));
  CHECK(refuses(with("\"w2\": {\"shape\": [2, 4], \"storage\": \"dense\"",
                     "\"w2\": {\"shape\": [2, 4], \"storage\": \"sparse\""),
                Code::kFile, "no tensor \"w2.values\""));
  CHECK(refuses(with("\"b\": {\"shape\": [4], \"storage\": \"dense\"}, ", ""), Code::kGraph, "bias"));
  FwFile more = small_network();
  const std::string graph = more.graph();
  more.dense("w9", {1}, {1.0f});
  CHECK(refuses(FwFile::assemble(more.header(graph), more.body()), Code::kFile, "\"w9\" belongs to no constant"));
}

// Zeros that take no room in a file take some when they are decoded.
void bombs_are_refused() {
  const auto with_zeros = [](std::int64_t rows) {
    FwFile f;
    f.input("x", "[null, 65536]").sparse("w", {rows, 65536}, {});
    return f.op("linear", "\"x\"", "y", R"("kernel": "dense")", R"("weight": "w")").output("y").bytes();
  };
  CHECK(refuses(with_zeros(1 << 17), Code::kMemory, "bytes of constants; the most is 268435456"));
  const Data fitting = with_zeros(1024);
  CHECK(Model::open({fitting.data(), fitting.size()}, nullptr).ok());
}

// Bytes, numbers and words of a valid file are changed: a status comes back, and the sanitizers stay silent.
void mutations_do_no_harm(const FwFile& file) {
  const Data valid = file.bytes();
  const std::string header = file.header(file.graph());
  std::mt19937 random(7);
  const std::vector<std::string> tokens = {
      "0",     "-1",       "1",          "4",         "255",   "9223372036854775807", "null", "[]", "{}",
      "\"x\"", "\"w\"",    "\"sparse\"", "\"dense\"", "1e308", "2147483647",          "true", "3",  "8",
      "65536", "\"conv\"", "\"y\""};
  int opened = 0;
  for (int round = 0; round < 6000; ++round) {
    Data data = valid;
    if (round % 3 == 0) {
      for (std::size_t n = 1 + random() % 4; n > 0; --n)
        data[random() % data.size()] = static_cast<std::uint8_t>(random());
    } else if (round % 3 == 1) {
      data.resize(random() % (data.size() + 1));
    } else {
      std::string text = header;  // a number or a word of it becomes another
      const std::size_t start = text.find_first_of("0123456789", random() % text.size());
      if (start == std::string::npos) continue;
      const std::size_t end = text.find_first_not_of("0123456789", start);
      std::string token = tokens[random() % tokens.size()];
      if (text.find("featherweight.graph") < start && text.rfind("}\"}") > start)
        for (std::size_t at = 0; (at = token.find('"', at)) != std::string::npos; at += 2) token.insert(at, "\\");
      text.replace(start, end - start, token);
      data = FwFile::assemble(text, file.body());
    }
    opened += open(data).ok();
  }
  CHECK(opened > 100);  // flips within weights
}

}  // namespace

int main() {
  a_valid_file_opens();
  the_outside_is_checked();
  constants_are_held_against_the_graph();
  bombs_are_refused();
  mutations_do_no_harm(small_network());
  mutations_do_no_harm(every_operation());
  return test::finish();
}
