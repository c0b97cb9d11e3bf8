// Convolutions layer by layer: GFLOP/s on nonzeros, and their share of what the processor can do at most.
//
//   conv_bench sparse|dense|depthwise [network=resnet50] [layer=TEXT] [density=0.1] [isa=avx512] [grid=HxW]
//              [positions=0] [channels=0] [sweep=0|1] [rounds=20] [huge=1|0] [cold=0|1]
//
// Only pixels of the picture count as work, not those that overhang it. sweep=1 tries many blocks and prints the
// best; huge=0 puts feature maps on small pages. One thread. One layer is run over and over, with all that it reads
// in the caches; cold=1 empties them between runs and then reads the input map again, as the layer before would
// have left it: weights and output come from memory, as in a network larger than the caches.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <string>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "kernels/bench/layers.h"
#include "kernels/bench/peak.h"
#include "kernels/conv/dense.h"
#include "kernels/conv/depthwise.h"
#include "kernels/conv/sparse.h"
#include "kernels/table.h"

using namespace featherweight;
using namespace featherweight::bench;

namespace {

struct Options {
  std::string kind = "sparse", network = "resnet50", layer, grid;
  double density = 0.1;
  Blocks blocks;
  bool sweep = false, huge = true, cold = false;
  int rounds = 20;
  const Kernels* kernels = &best_kernels();
};

bool read_option(const char* text, Options& o) {
  const char* equals = std::strchr(text, '=');
  if (equals == nullptr) {
    o.kind = text;
    return true;
  }
  const std::string name(text, equals), value(equals + 1);
  if (name == "network") o.network = value;
  else if (name == "layer") o.layer = value;
  else if (name == "grid") o.grid = value;
  else if (name == "density") o.density = std::atof(value.c_str());
  else if (name == "positions") o.blocks.positions = std::atoi(value.c_str());
  else if (name == "channels") o.blocks.channels = std::atoi(value.c_str());
  else if (name == "sweep") o.sweep = value == "1";
  else if (name == "huge") o.huge = value == "1";
  else if (name == "cold") o.cold = value == "1";
  else if (name == "rounds") o.rounds = std::atoi(value.c_str());
  else if (name == "isa") o.kernels = kernels_named(value.c_str());
  else return false;
  return o.kernels != nullptr;
}

int divide_up(int a, int b) { return (a + b - 1) / b; }

// The grid that wastes least, as square as can be.
void choose_grid(int size, int lanes, const std::string& wanted, LaneShape& out) {
  out.lanes = lanes;
  int best = 1 << 30;
  for (int h = 1; h <= lanes; h *= 2) {
    const int w = lanes / h;
    const int area = divide_up(size, h) * divide_up(size, w) * 64 + std::abs(h - w);
    if (area < best) {
      best = area;
      out.grid_h = h;
      out.grid_w = w;
    }
  }
  if (!wanted.empty()) std::sscanf(wanted.c_str(), "%dx%d", &out.grid_h, &out.grid_w);
}

ConvProblem problem_of(const Layer& layer, const Options& o) {
  ConvProblem p;
  p.conv.groups = layer.groups;
  p.conv.kernel_h = p.conv.kernel_w = layer.kernel;
  p.conv.stride_h = p.conv.stride_w = layer.stride;
  p.conv.pad_top = p.conv.pad_left = layer.kernel / 2;
  LaneShape& out = p.out;
  out.batch = out.tile_n = 1;
  out.channels = layer.out_channels;
  out.height = out.width = divide_up(layer.size, layer.stride);
  choose_grid(out.height, o.kernels->lanes, o.grid, out);
  out.tile_h = divide_up(out.height, out.grid_h);
  out.tile_w = divide_up(out.width, out.grid_w);
  p.in = out;
  p.in.channels = layer.in_channels;
  p.in.height = p.in.width = layer.size;
  p.in.tile_h = out.tile_h * layer.stride;
  p.in.tile_w = out.tile_w * layer.stride;
  p.in.halo = halo_for(p.conv, out.tile_h, out.tile_w);
  return p;
}

struct Weights {
  std::vector<float> dense, values;
  std::vector<std::int32_t> columns;
  std::vector<std::int64_t> starts{0};
  int rows, width;

  Weights(const Layer& layer, double density) : rows(layer.out_channels) {
    width = layer.in_channels / layer.groups * layer.kernel * layer.kernel;
    std::mt19937 random(7);
    std::bernoulli_distribution keep(density);
    std::normal_distribution<float> normal;
    for (int row = 0; row < rows; ++row) {
      for (int column = 0; column < width; ++column) {
        dense.push_back(keep(random) ? normal(random) : 0.0f);
        if (dense.back() == 0.0f) continue;
        values.push_back(dense.back());
        columns.push_back(column);
      }
      starts.push_back(static_cast<std::int64_t>(values.size()));
    }
  }
  SparseWeights sparse_view() const { return {values.data(), columns.data(), starts.data(), rows, width}; }
  DenseWeights dense_view() const { return {dense.data(), rows, width}; }
};

// The fastest of some runs, in seconds.
template <class Run, class Before>
double fastest(int rounds, Run run, Before before) {
  run();
  double best = 1e9;
  for (int round = 0; round < rounds; ++round) {
    before();
    const double start = now();
    run();
    best = std::min(best, now() - start);
  }
  return best;
}

// Both maps in one piece of memory, as in an arena; on large pages where `huge`.
struct Maps {
  static constexpr std::size_t kHugePage = std::size_t{1} << 21;
  float *memory, *in, *out;

  Maps(const ConvProblem& p, bool huge) {
    const auto in_size = static_cast<std::size_t>(p.in.size()), out_size = static_cast<std::size_t>(p.out.size());
    const std::size_t bytes = ((in_size + out_size + 16) * sizeof(float) / kHugePage + 1) * kHugePage;
    memory = static_cast<float*>(::operator new(bytes, std::align_val_t{kHugePage}));
#if defined(__linux__)
    madvise(memory, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#else
    (void)huge;
#endif
    in = memory;
    out = memory + (in_size + 15) / 16 * 16;
    std::fill(in, in + in_size, 0.5f);
    std::fill(out, out + out_size, 0.0f);
  }
  ~Maps() { ::operator delete(memory, std::align_val_t{kHugePage}); }
  Maps(const Maps&) = delete;
  Maps& operator=(const Maps&) = delete;
};

// Leaves nothing in the caches but the input map.
void empty_caches(const Maps& maps, const ConvProblem& p) {
  constexpr std::size_t kFloats = std::size_t{16} << 20;
  static std::vector<float> other(kFloats);
  for (float& x : other) x += 1.0f;
  const auto size = static_cast<std::size_t>(p.in.size());
  for (std::size_t i = 0; i < size; ++i) maps.in[i] += 0.0f;
}

struct Result {
  double seconds = 1e9;
  Blocks blocks;
};

template <class Packed>
Result measure(void (*kernel)(const Convolution<Packed>&, Part) noexcept, const Packed& packed, Maps& maps,
               const Options& o) {
  Convolution<Packed> op;
  op.packed = &packed;
  op.in = maps.in;
  op.out = maps.out;
  op.epilogue.activation.kind = ActivationKind::kRelu;
  const auto before = [&] {
    if (o.cold) empty_caches(maps, packed.problem);
  };
  return {fastest(o.rounds, [&] { kernel(op, {}); }, before), packed.blocks};
}

Result measure_blocks(const ConvProblem& p, const Weights& weights, const Options& o, Blocks blocks, Maps& maps) {
  if (o.kind == "dense")
    return measure(o.kernels->dense_conv, pack_dense_conv(weights.dense_view(), p, blocks), maps, o);
  if (o.kind == "depthwise")
    return measure(o.kernels->depthwise_conv, pack_depthwise_conv(weights.dense_view(), p, blocks), maps, o);
  return measure(o.kernels->sparse_conv, pack_sparse_conv(weights.sparse_view(), p, blocks), maps, o);
}

struct Total {
  double seconds = 0.0, flops = 0.0;
};

void run_layer(const Layer& layer, const Options& o, double peak_rate, Total& total) {
  const ConvProblem p = problem_of(layer, o);
  const Weights weights(layer, o.density);
  Maps maps(p, o.huge);
  Result result = measure_blocks(p, weights, o, o.blocks, maps);
  const Result own = result;
  if (o.sweep)
    for (int positions : {4, 7, 8, 10, 12, 14, 16, 20, 28})
      for (int channels : {16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048}) {
        if (channels > layer.in_channels) continue;
        const Result other = measure_blocks(p, weights, o, {positions, channels}, maps);
        if (other.seconds < result.seconds) result = other;
      }
  const auto nonzeros = o.kind == "sparse" ? weights.values.size() : weights.dense.size();
  const double flops = 2.0 * static_cast<double>(nonzeros) * p.out.height * p.out.width;
  const double filled = static_cast<double>(p.out.height * p.out.width) /
                        (p.out.tile_h * p.out.tile_w * p.out.lanes);
  const double rate = flops / result.seconds * 1e-9;
  total.seconds += layer.times * result.seconds;
  total.flops += layer.times * flops;
  std::printf("%-14s %4d -> %4d  %3d  tile %2dx%-2d %3.0f%%  %8.1f us  %6.1f GFLOP/s  %5.1f%%  blocks %d, %d",
              layer.name, layer.in_channels, layer.out_channels, p.out.height, p.out.tile_h, p.out.tile_w, 100.0 * filled,
              result.seconds * 1e6, rate, 100.0 * rate / peak_rate, result.blocks.positions, result.blocks.channels);
  if (o.sweep)
    std::printf("  (own choice: %d, %d: %.1f us)", own.blocks.positions, own.blocks.channels, own.seconds * 1e6);
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace

int main(int count, char** texts) {
  Options o;
  for (int i = 1; i < count; ++i)
    if (!read_option(texts[i], o)) {
      std::fprintf(stderr, "not an option, or no such instruction set here: %s\n", texts[i]);
      return 2;
    }
  const double peak_rate = peak(o.kernels->lanes);
  std::printf("%s, %s, density %g; at most %.0f GFLOP/s\n", o.kernels->name, o.kind.c_str(), o.density, peak_rate);
  Total total;
  for (const Layer& layer : layers())
    if (o.network == layer.network && (o.kind == "depthwise") == (layer.groups > 1) &&
        std::strstr(layer.name, o.layer.c_str()) != nullptr)
      run_layer(layer, o, peak_rate, total);
  std::printf("together %.2f ms, %.1f GFLOP/s, %.1f%%\n", total.seconds * 1e3, total.flops / total.seconds * 1e-9,
              100.0 * total.flops / total.seconds * 1e-9 / peak_rate);
  return 0;
}
