// The C interface: what it gives for a small network, and that no wrong argument does harm.
#include "c/featherweight.h"

#include <atomic>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include "check.h"
#include "fw_file.h"

using featherweight::test::FwFile;

namespace {

std::vector<std::uint8_t> file() {
  FwFile f;
  f.input("x", "[null, 2]").dense("w", {3, 2}, {1, 2, 3, 4, 5, 6}).dense("b", {3}, {0, 0, -100});
  f.op("linear", "\"x\"", "y", R"("activation": {"kind": "relu"})", R"("weight": "w", "bias": "b")");
  return f.output("y").op("arg_max", "\"y\"", "best", R"("axis": 1, "keep": false)").output("best").bytes();
}

const fw_shape kTwo = {2, {2, 2}};

void versions_are_told() {
  CHECK(std::strcmp(fw_version(), FW_VERSION) == 0 && fw_format_version() == FW_FORMAT_VERSION);
  const auto bytes = file();
  const std::string text(bytes.begin(), bytes.end()), old = R"("version": "1")";
  const auto status_of = [&](int version) {
    std::string other = text;
    other.replace(text.find(old), old.size(), R"("version": ")" + std::to_string(version) + '"');
    fw_network* network = nullptr;
    const fw_status status = fw_open_memory(other.data(), other.size(), 1, nullptr, &network);
    fw_close(network);
    return status;
  };
  CHECK(status_of(fw_format_version()) == FW_OK && status_of(fw_format_version() + 1) == FW_FILE);
}

void a_network_runs() {
  const auto bytes = file();
  fw_network* network = nullptr;
  CHECK(fw_open_memory(bytes.data(), bytes.size(), 2, "portable", &network) == FW_OK);
  CHECK(fw_input_count(network) == 1 && fw_output_count(network) == 2);
  fw_value value;
  CHECK(fw_input(network, 0, &value) == FW_OK && std::strcmp(value.name, "x") == 0);
  CHECK(value.shape.rank == 2 && value.shape.sizes[0] == FW_UNKNOWN && value.shape.sizes[1] == 2);
  CHECK(fw_output(network, 1, &value) == FW_OK && value.dtype == FW_INT64 && value.shape.rank == 1);
  fw_shape out[2];
  CHECK(fw_prepare(network, &kTwo, out) == FW_OK && out[0].rank == 2 && out[0].sizes[1] == 3 &&
        out[1].sizes[0] == 2);
  const float x[4] = {1, 1, -1, 1};
  float y[6];
  std::int64_t best[2];
  const void* inputs[] = {x};
  void* outputs[] = {y, best};
  CHECK(fw_run(network, &kTwo, inputs, outputs) == FW_OK && *fw_error(network) == '\0');
  const float expected[6] = {3, 7, 0, 1, 1, 0};
  CHECK(std::memcmp(y, expected, sizeof y) == 0 && best[0] == 1 && best[1] == 0);
  fw_close(network);
}

void errors_are_told() {
  const auto bytes = file();
  fw_network* network = nullptr;
  CHECK(fw_open_memory(bytes.data(), bytes.size() - 1, 1, nullptr, &network) == FW_FILE);
  CHECK(std::strstr(fw_error(network), "beyond the file") != nullptr);
  fw_value value;
  CHECK(fw_input_count(network) == 0 && fw_input(network, 0, &value) == FW_ARGUMENT);
  CHECK(fw_run(network, &kTwo, nullptr, nullptr) == FW_ARGUMENT);
  fw_close(network);
  CHECK(fw_open_memory(bytes.data(), bytes.size(), 1, "mmx", &network) == FW_UNSUPPORTED);
  fw_close(network);
  CHECK(fw_open_memory(bytes.data(), bytes.size(), -1, nullptr, &network) == FW_ARGUMENT);
  fw_close(network);
  CHECK(fw_open_path("/no/such/file", 1, nullptr, &network) == FW_IO);
  fw_close(network);
  CHECK(fw_open_path(nullptr, 1, nullptr, &network) == FW_ARGUMENT);
  fw_close(network);
  CHECK(fw_open_path("x", 1, nullptr, nullptr) == FW_ARGUMENT);
  fw_close(nullptr);
}

// A clone runs after the first was closed, and tells its own errors.
void a_clone_is_another_user() {
  const auto bytes = file();
  fw_network *network = nullptr, *clone = nullptr, *none = nullptr;
  CHECK(fw_open_memory(bytes.data(), bytes.size(), 2, nullptr, &network) == FW_OK);
  CHECK(fw_clone(network, 0, &clone) == FW_OK && clone != network);
  CHECK(fw_clone(network, -1, &none) == FW_ARGUMENT && std::strstr(fw_error(none), "threads") != nullptr);
  CHECK(*fw_error(network) == '\0');
  fw_network* of_none = nullptr;
  CHECK(fw_clone(none, 1, &of_none) == FW_ARGUMENT && fw_clone(network, 1, nullptr) == FW_ARGUMENT);
  fw_close(of_none);
  fw_close(none);
  CHECK(fw_clone(nullptr, 1, &none) == FW_ARGUMENT && std::strstr(fw_error(none), "network") != nullptr);
  fw_close(none);
  fw_close(network);
  const float x[2] = {1, 1};
  float y[3];
  std::int64_t best[1];
  const fw_shape one = {2, {1, 2}};
  const void* inputs[] = {x};
  void* outputs[] = {y, best};
  CHECK(fw_run(clone, &one, inputs, outputs) == FW_OK && y[1] == 7.0f && best[0] == 1);
  outputs[1] = y;
  CHECK(fw_run(clone, &one, inputs, outputs) == FW_ARGUMENT && std::strstr(fw_error(clone), "overlaps") != nullptr);
  fw_close(clone);
}

// Several threads with one network: each reads an error of its own, whole.
void threads_share_a_network() {
  const auto bytes = file();
  fw_network* network = nullptr;
  CHECK(fw_open_memory(bytes.data(), bytes.size(), 2, nullptr, &network) == FW_OK);
  std::atomic<int> wrong{0};
  const auto work = [&](float sign) {
    const float x[4] = {sign, sign, -1, 1};
    for (int i = 0; i < 200; ++i) {
      float y[6];
      std::int64_t best[2];
      const void* inputs[] = {x};
      void* outputs[] = {y, best};
      wrong += fw_run(network, &kTwo, inputs, outputs) != FW_OK || y[1] != (sign > 0 ? 7.0f : 0.0f);
      const fw_shape unknown = {2, {2, sign > 0 ? 3 : 4}};
      fw_shape out[2];
      wrong += fw_prepare(network, &unknown, out) != FW_SHAPE;
      wrong += std::strlen(fw_error(network)) > 500;
    }
  };
  std::thread other(work, -1.0f);
  work(1.0f);
  other.join();
  CHECK(wrong == 0);
  fw_close(network);
}

void wrong_arguments_do_no_harm() {
  const auto bytes = file();
  fw_network* network = nullptr;
  CHECK(fw_open_memory(bytes.data(), bytes.size(), 0, nullptr, &network) == FW_OK);
  fw_value value;
  CHECK(fw_input(network, 1, &value) == FW_ARGUMENT && fw_input(network, -1, &value) == FW_ARGUMENT);
  CHECK(fw_input(network, 0, nullptr) == FW_ARGUMENT && fw_output(network, 2, &value) == FW_ARGUMENT);
  const fw_shape wrong = {2, {2, 3}}, high = {9, {}}, negative = {2, {-5, 2}};
  fw_shape out[2];
  CHECK(fw_prepare(network, &wrong, out) == FW_SHAPE && fw_prepare(network, &negative, out) == FW_SHAPE);
  CHECK(fw_prepare(network, &high, out) == FW_ARGUMENT && fw_prepare(network, nullptr, out) == FW_ARGUMENT);
  CHECK(fw_prepare(network, &kTwo, nullptr) == FW_ARGUMENT);
  const void* inputs[] = {nullptr};
  void* outputs[] = {nullptr, nullptr};
  CHECK(fw_run(network, &kTwo, inputs, outputs) == FW_ARGUMENT);
  CHECK(std::strstr(fw_error(network), "inputs") != nullptr);
  fw_close(network);
}

}  // namespace

int main() {
  versions_are_told();
  a_network_runs();
  errors_are_told();
  a_clone_is_another_user();
  threads_share_a_network();
  wrong_arguments_do_no_harm();
  return featherweight::test::finish();
}
