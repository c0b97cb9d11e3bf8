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
  const Status status = open(small_network().bytes());
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.text().c_str());
  CHECK(status.ok());
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
}

// Bytes, numbers and words of a valid file are changed: a status comes back, and the sanitizers stay silent.
void mutations_do_no_harm() {
  const FwFile file = small_network();
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
  mutations_do_no_harm();
  return test::finish();
}
