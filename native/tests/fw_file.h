// Writes `.fw` files for tests: a graph in a few lines of JSON, and its constants.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "formats/gap_naive.h"
#include "plan/types.h"

namespace featherweight::test {

class FwFile {
 public:
  // `shape` as in the graph: "[null, 3, 8, 8]".
  FwFile& input(const std::string& name, const std::string& shape, const std::string& dtype = "float32") {
    inputs_ +=
        comma(inputs_) + R"({"name": ")" + name + R"(", "dtype": ")" + dtype + R"(", "shape": )" + shape + "}";
    return *this;
  }
  FwFile& output(const std::string& name) {
    outputs_ += comma(outputs_) + '"' + name + '"';
    return *this;
  }
  // `inputs`: "\"x\", \"y\""; attributes and constants: the insides of their objects.
  FwFile& op(const std::string& kind, const std::string& inputs, const std::string& output,
             const std::string& attributes = "", const std::string& constants = "") {
    operations_ += comma(operations_) + R"({"op": ")" + kind + R"(", "name": ")" + output + R"(", "inputs": [)" +
                   inputs + R"(], "outputs": [")" + output + R"("], "attributes": {)" + attributes +
                   R"(}, "constants": {)" + constants + "}}";
    return *this;
  }
  FwFile& dense(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    constant(name, shape, "dense");
    tensor(name, "F32", shape, values.data(), values.size() * sizeof(float));
    return *this;
  }
  FwFile& sparse(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    constant(name, shape, "sparse");
    std::vector<float> nonzeros;
    std::vector<std::int64_t> positions;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (values[i] != 0.0f) {
        nonzeros.push_back(values[i]);
        positions.push_back(static_cast<std::int64_t>(i));
      }
    const auto gaps = naive::gap_encode(positions);
    tensor(name + ".values", "F32", {static_cast<std::int64_t>(nonzeros.size())}, nonzeros.data(),
           nonzeros.size() * sizeof(float));
    tensor(name + ".gaps", "U8", {static_cast<std::int64_t>(gaps.size())}, gaps.data(), gaps.size());
    return *this;
  }

  std::string graph() const {
    return R"({"version": 1, "inputs": [)" + inputs_ + R"(], "outputs": [)" + outputs_ + R"(], "operations": [)" +
           operations_ + R"(], "constants": {)" + constants_ + "}}";
  }
  std::vector<std::uint8_t> bytes() const { return assemble(header(graph()), body_); }
  std::string header(const std::string& graph) const {
    std::string escaped;
    for (const char c : graph) escaped += c == '"' ? std::string("\\\"") : std::string(1, c);
    return R"({"__metadata__": {"format": "featherweight.fw", "version": "1", "featherweight.graph": ")" + escaped +
           R"("})" + tensors_ + "}";
  }
  const std::vector<std::uint8_t>& body() const { return body_; }

  static std::vector<std::uint8_t> assemble(std::string header, const std::vector<std::uint8_t>& body) {
    while (header.size() % 8 != 0) header += ' ';
    std::vector<std::uint8_t> out;
    for (int i = 0; i < 8; ++i) out.push_back(static_cast<std::uint8_t>(header.size() >> (8 * i)));
    out.insert(out.end(), header.begin(), header.end());
    out.insert(out.end(), body.begin(), body.end());
    return out;
  }

 private:
  static std::string comma(const std::string& before) { return before.empty() ? "" : ", "; }
  static std::string list(const Shape& shape) {
    std::string text;
    for (const auto size : shape) text += comma(text) + std::to_string(size);
    return "[" + text + "]";
  }
  void constant(const std::string& name, const Shape& shape, const char* storage) {
    constants_ +=
        comma(constants_) + '"' + name + R"(": {"shape": )" + list(shape) + R"(, "storage": ")" + storage + "\"}";
  }
  void tensor(const std::string& name, const char* dtype, const Shape& shape, const void* data, std::size_t size) {
    const std::size_t begin = body_.size();
    body_.resize(begin + size);
    if (size != 0) std::memcpy(body_.data() + begin, data, size);
    tensors_ += ", \"" + name + R"(": {"dtype": ")" + dtype + R"(", "shape": )" + list(shape) +
                R"(, "data_offsets": [)" + std::to_string(begin) + ", " + std::to_string(begin + size) + "]}";
  }

  std::string inputs_, outputs_, operations_, constants_, tensors_;
  std::vector<std::uint8_t> body_;
};

// What tests fill their files with; the same numbers in each run.
inline std::mt19937& numbers() {
  static std::mt19937 source(11);
  return source;
}
inline std::vector<float> random_floats(std::int64_t size, double density = 1.0) {
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::bernoulli_distribution keep(density);
  std::vector<float> floats(static_cast<std::size_t>(size));
  for (float& x : floats) x = keep(numbers()) ? normal(numbers()) : 0.0f;
  return floats;
}

// The insides of an operation's "constants", and of attributes.
inline std::string constants(const std::string& weight, const std::string& bias = "") {
  return "\"weight\": \"" + weight + "\"" + (bias.empty() ? "" : ", \"bias\": \"" + bias + "\"");
}
inline const std::string kRelu = R"("activation": {"kind": "relu"})";

}  // namespace featherweight::test
