// Several users of one network: threads with a context each, packed weights that they share, forked children, and
// that nothing is allocated while running.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "check.h"
#include "fw_file.h"
#include "plan/session.h"

// ThreadSanitizer forbids threads in children.
#if (defined(__unix__) || defined(__APPLE__)) && !defined(__SANITIZE_THREAD__)
#define FW_CAN_FORK 1
#include <sys/wait.h>
#include <unistd.h>
#else
#define FW_CAN_FORK 0
#endif

using namespace featherweight;
using test::constants;
using test::FwFile;
using test::kRelu;
using test::random_floats;

namespace {

std::shared_ptr<const Model> model_of(const FwFile& file) {
  const auto bytes = file.bytes();
  const auto model = Model::open_copy({bytes.data(), bytes.size()});
  CHECK(model.ok());
  return model.value();
}

// Every way of packing, for any batch and size.
std::shared_ptr<const Model> packed_network() {
  FwFile f;
  f.input("x", "[null, 3, null, null]")
      .dense("w", {6, 3, 3, 3}, random_floats(162))
      .dense("b", {6}, random_floats(6))
      .sparse("v", {6, 6, 3, 3}, random_floats(324, 0.2))
      .dense("d", {6, 1, 3, 3}, random_floats(54));
  f.dense("t", {6, 4, 2, 2}, random_floats(96))
      .sparse("l", {9, 6}, random_floats(54, 0.3))
      .dense("m", {7, 9}, random_floats(63));
  f.op("conv", "\"x\"", "a", R"("strides": [2, 2], "pads": [1, 1, 1, 1], )" + kRelu, constants("w", "b"));
  f.op("conv", "\"a\"", "c", R"("pads": [1, 1, 1, 1], )" + kRelu, constants("v", "b"));
  f.op("conv", "\"c\"", "e", R"("pads": [1, 1, 1, 1], "groups": 6)", constants("d"));
  f.op("global_average_pool", "\"e\"", "p").op("reshape", "\"p\"", "flat", R"("shape": [0, -1])");
  f.op("linear", "\"flat\"", "s", "", constants("l")).op("linear", "\"s\"", "y", "", constants("m"));
  f.op("conv_transpose", "\"e\"", "up", R"("strides": [2, 2])", constants("t"));
  return model_of(f.output("y").output("up"));
}

// One user of a network: arrays, and what another context gave for them.
class User {
 public:
  User(const std::shared_ptr<const Model>& model, const Shape& shape, const char* isa = "")
      : shapes_{shape}, input_(random_floats(count(shape))) {
    const auto context = Context::create(model, {1, isa, false, false}).value();
    expected_ = outputs(*context);
    CHECK(!expected_.empty());
  }

  // How many of so many runs gave something else.
  int differing(Context& context, int runs) const {
    int wrong = 0;
    for (int i = 0; i < runs; ++i) wrong += outputs(context) != expected_;
    return wrong;
  }

 private:
  std::vector<std::vector<float>> outputs(Context& context) const {
    const auto types = context.prepare(shapes_);
    if (!types.ok()) return {};
    std::vector<std::vector<float>> got;
    std::vector<void*> out;
    for (const ValueType& type : types.value()) got.emplace_back(static_cast<std::size_t>(count(type.shape)), -77.0f);
    for (auto& array : got) out.push_back(array.data());
    if (!context.run(shapes_, {input_.data()}, out).ok()) got.clear();
    return got;
  }

  std::vector<Shape> shapes_;
  std::vector<float> input_;
  std::vector<std::vector<float>> expected_;
};

// Threads with a context each, and two that share one; each takes turns with all shapes.
void contexts_run_at_the_same_time() {
  const auto model = packed_network();
  std::vector<User> users;
  for (const Shape& shape : {Shape{1, 3, 32, 32}, Shape{2, 3, 17, 23}, Shape{5, 3, 9, 9}})
    users.emplace_back(model, shape);
  auto first = Context::create(model, {2, "", false, false}).value();
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  const auto work = [&](std::size_t turn, Context& context) {
    for (std::size_t round = 0; round < 12; ++round)
      wrong += users[(turn + round) % users.size()].differing(context, 10);
  };
  for (std::size_t i = 0; i < 2; ++i) threads.emplace_back([&, i] { work(i, *first); });
  for (std::size_t i = 0; i < 2; ++i)
    threads.emplace_back([&, i] {
      auto clone = first->clone(static_cast<int>(i) + 1);
      CHECK(clone.ok() && clone.value()->threads() == static_cast<int>(i) + 1);
      work(i + 1, *clone.value());
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

void a_clone_outlives_the_first() {
  auto model = packed_network();
  auto first = Context::create(model, {2, "portable", false, false}).value();
  const User user(model, {1, 3, 8, 8}, "portable");
  model.reset();
  auto clone = first->clone(0).value();
  CHECK(clone->threads() == 2 && std::string(clone->isa()) == "portable");
  CHECK(first->clone(-1).status().code() == Code::kArgument);
  first.reset();
  CHECK(user.differing(*clone, 2) == 0);
}

// Each weight is packed once for all contexts, and let go with the last plan that uses it.
void packed_weights_are_shared() {
  const auto model = packed_network();
  const PackedCache& cache = model->network().cache;
  auto first = Context::create(model, {1, "", false, false}).value();
  const Shape small{1, 3, 16, 16}, large{1, 3, 64, 64};
  CHECK(first->prepare({small}).ok());
  const std::int64_t of_a_plan = cache.misses();
  CHECK(of_a_plan == 5 + 2);  // five layers, the bias that two of them have, and the transposed convolution's weight
  auto second = first->clone(3).value();
  CHECK(second->prepare({small}).ok() && cache.misses() == of_a_plan);
  CHECK(first->prepare({large}).ok() && cache.misses() == of_a_plan + 3);  // other tiles: the convolutions alone
  CHECK(second->prepare({large}).ok() && cache.misses() == of_a_plan + 3);
  ConstantId t = 0;  // plans keep the transposed convolution's weight packed: it is not packed anew
  while (model->graph().constants[static_cast<std::size_t>(t)].name != "t") ++t;
  const Constant& weight = model->constants()[static_cast<std::size_t>(t)];
  CHECK(model->network().cache.packed(t, weight, &plain::pack_conv_transpose, 1)->row != 0);
  CHECK(cache.misses() == of_a_plan + 3);
  first.reset();
  CHECK(second->clone(1).value()->prepare({small}).ok() && cache.misses() == of_a_plan + 3);
  second.reset();
  auto third = Context::create(model, {1, "", false, false}).value();
  CHECK(third->prepare({small}).ok() && cache.misses() == 2 * of_a_plan + 3);
}

void arrays_that_overlap_are_refused() {
  FwFile f;
  f.input("x", "[4]").op("add", "\"x\", \"x\"", "y").op("add", "\"y\", \"x\"", "z").output("y").output("z");
  auto context = Context::create(model_of(f), {}).value();
  std::vector<float> all(12, 1.0f);
  const auto code = [&](std::size_t y, std::size_t z) {
    return context->run({{4}}, {all.data()}, {all.data() + y, all.data() + z}).code();
  };
  CHECK(code(4, 8) == Code::kOk && all[4] == 2.0f && all[11] == 3.0f);
  CHECK(code(0, 8) == Code::kArgument && code(3, 8) == Code::kArgument);
  CHECK(code(4, 7) == Code::kArgument && code(8, 4) == Code::kOk);
}

#if FW_CAN_FORK

// What the body gives in a forked child; 99 where it does not come back within seconds.
template <class Body>
int in_a_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    _exit(body());
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

// A child runs what its parent opened, planned or not, with threads of its own; and so does the child's child.
void forked_children_run() {
  const auto model = packed_network();
  const User seen(model, {1, 3, 32, 32}), unseen(model, {2, 3, 20, 20});
  auto context = Context::create(model, {3, "", false, false}).value();
  CHECK(seen.differing(*context, 3) == 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));  // the threads sleep: the state that hangs most easily
  const auto work = [&] {
    auto clone = context->clone(2);
    return seen.differing(*context, 20) + unseen.differing(*context, 20) + unseen.differing(*clone.value(), 20);
  };
  CHECK(in_a_child([&] {
          const int wrong = work(), below = in_a_child(work);
          context.reset();  // ends the child's threads, not its parent's
          return wrong + below + test::failures;
        }) == 0);
  CHECK(seen.differing(*context, 3) == 0);
}

// Forked while another thread runs it, it works or refuses; it never hangs.
void children_do_not_wait_for_threads_that_are_not_there() {
  const auto model = packed_network();
  const Shape shape{1, 3, 96, 96};
  const User user(model, shape);
  auto context = Context::create(model, {2, "", false, false}).value();
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) CHECK(user.differing(*context, 1) == 0);
  });
  int refused = 0;
  for (int round = 0; round < 1000 && (round < 20 || refused == 0); ++round) {
    const int got = in_a_child([&] {
      const Status status = context->prepare({shape}).status();
      if (status.ok()) return user.differing(*context, 3);
      return status.code() == Code::kUnsupported ? 50 : 1;
    });
    CHECK(got == 0 || got == 50);
    refused += got == 50;
    std::this_thread::sleep_for(std::chrono::microseconds(137 * (round % 20)));
  }
  stop = true;
  other.join();
  CHECK(refused > 0);  // it was running at some forks
}

#endif

}  // namespace

int main() {
  contexts_run_at_the_same_time();
  a_clone_outlives_the_first();
  packed_weights_are_shared();
  arrays_that_overlap_are_refused();
#if FW_CAN_FORK
  forked_children_run();
  children_do_not_wait_for_threads_that_are_not_there();
#endif
  return test::finish();
}
