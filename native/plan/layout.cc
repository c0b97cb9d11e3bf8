#include "plan/layout.h"

#include <algorithm>
#include <numeric>

namespace featherweight {
namespace {

// Nanoseconds, on the machine of shared/runtime.md; only their ratios matter.
constexpr double kHaloVector = 1.5;
constexpr double kConvertedFloat = 0.4;  // from tiles to other tiles
constexpr int kRounds = 8;

// The maps that share a tiling.
struct Block {
  int batch = 0, rows = 0, columns = 0;  // that tiles must cover
  double work = 0.0;                     // for each vector of a tile
  struct Halo {
    ConvShape conv;
    int channels = 0;
  };
  std::vector<Halo> halos;
  std::vector<std::size_t> edges;  // that it is an end of
};

// A stride between blocks: the tiles of `from` should be `stride` times as large as those of `to`.
struct Edge {
  std::size_t from = 0, to = 0;
  int stride_h = 1, stride_w = 1;
  double conversion = 0.0;
};

using Tilings = std::vector<Tiling>;

class Search {
 public:
  Search(std::vector<Block> blocks, std::vector<Edge> edges, int lanes)
      : blocks_(std::move(blocks)), edges_(std::move(edges)) {
    for (int n = 1; n <= lanes; n *= 2)
      for (int h = 1; n * h <= lanes; h *= 2) grids_.push_back({n, h, lanes / (n * h), 0, 0, 0});
  }

  Tilings best() const {
    Tilings best = improved(each_alone());
    double least = total(best);
    for (const Tiling& grid : grids_) {
      Tilings other = improved(all_over(grid));
      const double cost = total(other);
      if (cost < least) {
        least = cost;
        best = std::move(other);
      }
    }
    return best;
  }

 private:
  static int over(int size, int parts) noexcept { return std::max(1, (size + parts - 1) / parts); }

  Tiling smallest(const Block& block, Tiling grid) const {
    grid.tile_n = over(block.batch, grid.grid_n);
    grid.tile_h = over(block.rows, grid.grid_h);
    grid.tile_w = over(block.columns, grid.grid_w);
    return grid;
  }
  static bool fits(const Block& block, const Tiling& t) noexcept {
    return t.covers(block.batch, block.rows, block.columns);
  }

  double cost(const Block& block, const Tiling& t) const {
    double sum = block.work * t.tile_h * t.tile_w;
    for (const Block::Halo& halo : block.halos) {
      const auto around = halo_for(halo.conv, t.tile_h, t.tile_w);
      const double rows = double{1} * t.tile_h * halo.conv.stride_h,
                   columns = double{1} * t.tile_w * halo.conv.stride_w;
      const double all = (rows + around.top + around.bottom) * (columns + around.left + around.right);
      sum += kHaloVector * halo.channels * (all - rows * columns);
    }
    return sum * t.tile_n;
  }
  double cost(const Edge& edge, const Tilings& tilings) const {
    return tilings[edge.from] == tilings[edge.to].times(edge.stride_h, edge.stride_w) ? 0.0 : edge.conversion;
  }
  double total(const Tilings& tilings) const {
    double sum = 0.0;
    for (std::size_t b = 0; b < blocks_.size(); ++b) sum += cost(blocks_[b], tilings[b]);
    for (const Edge& edge : edges_) sum += cost(edge, tilings);
    return sum;
  }

  Tilings each_alone() const {
    Tilings tilings;
    for (const Block& block : blocks_) {
      Tiling best = smallest(block, grids_[0]);
      for (const Tiling& grid : grids_)
        if (const Tiling other = smallest(block, grid); cost(block, other) < cost(block, best)) best = other;
      tilings.push_back(best);
    }
    return tilings;
  }

  // One grid, and tiles as the blocks after want them, wherever they cover what they should.
  Tilings all_over(const Tiling& grid) const {
    Tilings tilings(blocks_.size());
    for (std::size_t b = blocks_.size(); b-- > 0;) {
      tilings[b] = smallest(blocks_[b], grid);
      for (const std::size_t e : blocks_[b].edges) {
        const Edge& edge = edges_[e];
        if (edge.from != b || edge.to <= b) continue;
        const Tiling wanted = tilings[edge.to].times(edge.stride_h, edge.stride_w);
        if (fits(blocks_[b], wanted)) tilings[b] = wanted;
      }
    }
    return tilings;
  }

  Tilings improved(Tilings tilings) const {
    bool changed = true;
    for (int round = 0; round < kRounds && changed; ++round) {
      changed = false;
      for (std::size_t b = blocks_.size(); b-- > 0;) changed = improve(b, tilings) || changed;
    }
    return tilings;
  }

  bool improve(std::size_t b, Tilings& tilings) const {
    const auto local = [&] {
      double sum = cost(blocks_[b], tilings[b]);
      for (const std::size_t e : blocks_[b].edges) sum += cost(edges_[e], tilings);
      return sum;
    };
    const Tiling before = tilings[b];
    Tiling best = before;
    double least = local();
    for (const Tiling& candidate : candidates(b, tilings)) {
      tilings[b] = candidate;
      if (const double sum = local(); sum < least * (1.0 - 1e-9)) {
        least = sum;
        best = candidate;
      }
    }
    tilings[b] = best;
    return best != before;
  }

  // Its own smallest tiles, and those that agree with a neighbour.
  Tilings candidates(std::size_t b, const Tilings& tilings) const {
    Tilings list;
    for (const Tiling& grid : grids_) list.push_back(smallest(blocks_[b], grid));
    for (const std::size_t e : blocks_[b].edges) {
      const Edge& edge = edges_[e];
      if (edge.from == b) list.push_back(tilings[edge.to].times(edge.stride_h, edge.stride_w));
      Tiling quotient = tilings[edge.from];
      if (edge.to != b || quotient.tile_h % edge.stride_h != 0 || quotient.tile_w % edge.stride_w != 0) continue;
      quotient.tile_h /= edge.stride_h;
      quotient.tile_w /= edge.stride_w;
      list.push_back(quotient);
    }
    list.erase(std::remove_if(list.begin(), list.end(), [&](const Tiling& t) { return !fits(blocks_[b], t); }),
               list.end());
    return list;
  }

  std::vector<Block> blocks_;
  std::vector<Edge> edges_;
  Tilings grids_;
};

// Builds the blocks: values that operations of stride 1 join.
class MapBlocks {
 public:
  MapBlocks(const Graph& graph, const std::vector<ValueType>& types, const std::vector<Mode>& modes)
      : graph_(graph), types_(types), modes_(modes), parent_(types.size()), in_lanes_(types.size()) {
    std::iota(parent_.begin(), parent_.end(), std::size_t{0});
  }

  void build(const std::vector<double>& work) {
    for_each([&](std::size_t, const Operation& operation, Mode mode) {
      in_lanes_[index(operation.output)] = true;
      for (const LaneInput& input : lane_inputs(operation, mode, types_)) {
        const std::size_t value = index(operation.inputs[input.index]);
        if (in_lanes_[value] && input.stride_h == 1 && input.stride_w == 1) join(value, index(operation.output));
      }
    });
    for_each([&](std::size_t i, const Operation& operation, Mode mode) { add(operation, mode, work[i]); });
  }
  std::size_t block_of(ValueId value) { return numbers_[root(index(value))]; }

  std::vector<Block> blocks;
  std::vector<Edge> edges;

 private:
  static std::size_t index(ValueId value) noexcept { return static_cast<std::size_t>(value); }

  template <class Visit>
  void for_each(Visit visit) {
    for (std::size_t i = 0; i < modes_.size(); ++i)
      if (gives_lanes(graph_.operations[i], modes_[i])) visit(i, graph_.operations[i], modes_[i]);
  }
  std::size_t root(std::size_t value) {
    while (parent_[value] != value) value = parent_[value] = parent_[parent_[value]];
    return value;
  }
  void join(std::size_t a, std::size_t b) { parent_[root(a)] = root(b); }
  std::size_t number(ValueId value) {
    const std::size_t at = root(index(value));
    if (numbers_.empty()) numbers_.assign(parent_.size(), SIZE_MAX);
    if (numbers_[at] == SIZE_MAX) {
      numbers_[at] = blocks.size();
      blocks.emplace_back();
    }
    return numbers_[at];
  }

  void add(const Operation& operation, Mode mode, double work) {
    const std::size_t to = number(operation.output);
    cover(blocks[to], types_[index(operation.output)].shape, 1, 1);
    blocks[to].work += work;
    for (const LaneInput& input : lane_inputs(operation, mode, types_)) {
      const ValueId value = operation.inputs[input.index];
      const Shape& shape = types_[index(value)].shape;
      cover(blocks[to], shape, input.stride_h, input.stride_w);
      if (!in_lanes_[index(value)] || (input.stride_h == 1 && input.stride_w == 1)) continue;
      const std::size_t from = number(value), edge = edges.size();
      edges.push_back(
          {from, to, input.stride_h, input.stride_w, kConvertedFloat * static_cast<double>(count(shape))});
      blocks[from].edges.push_back(edge);
      if (from != to) blocks[to].edges.push_back(edge);
    }
    add_halo(blocks[to], operation);
  }
  static void cover(Block& block, const Shape& shape, int stride_h, int stride_w) {
    const auto over = [](std::int64_t size, int stride) { return static_cast<int>((size + stride - 1) / stride); };
    block.batch = std::max(block.batch, static_cast<int>(shape[0]));
    block.rows = std::max(block.rows, over(shape[2], stride_h));
    block.columns = std::max(block.columns, over(shape[3], stride_w));
  }
  void add_halo(Block& block, const Operation& operation) const {
    const auto channels = static_cast<int>(types_[index(operation.inputs[0])].shape[1]);
    if (const auto* conv = std::get_if<ConvAttributes>(&operation.attributes)) {
      const Shape& weight = graph_.constants[static_cast<std::size_t>(operation.weight)].shape;
      block.halos.push_back({conv_shape(conv->window, conv->groups, weight[2], weight[3]), channels});
    }
    if (const auto* pool = std::get_if<PoolAttributes>(&operation.attributes))
      block.halos.push_back(
          {conv_shape(pool->window, 1, pool->window.kernel[0], pool->window.kernel[1]), channels});
  }

  const Graph& graph_;
  const std::vector<ValueType>& types_;
  const std::vector<Mode>& modes_;
  std::vector<std::size_t> parent_, numbers_;
  std::vector<bool> in_lanes_;
};

}  // namespace

LaneShape lane_shape(const Shape& shape, const Tiling& tiling, Halo halo) {
  LaneShape out;
  out.lanes = tiling.grid_n * tiling.grid_h * tiling.grid_w;
  out.batch = static_cast<int>(shape[0]);
  out.channels = static_cast<int>(shape[1]);
  out.height = static_cast<int>(shape[2]);
  out.width = static_cast<int>(shape[3]);
  out.grid_n = tiling.grid_n;
  out.grid_h = tiling.grid_h;
  out.grid_w = tiling.grid_w;
  out.tile_n = tiling.tile_n;
  out.tile_h = tiling.tile_h;
  out.tile_w = tiling.tile_w;
  out.halo = halo;
  return out;
}

std::vector<Tiling> choose_tilings(const Graph& graph, const std::vector<ValueType>& types,
                                   const std::vector<Mode>& modes, const std::vector<double>& work, int lanes) {
  MapBlocks maps(graph, types, modes);
  maps.build(work);
  std::vector<Tiling> tilings(graph.operations.size());
  if (maps.blocks.empty()) return tilings;
  const Tilings best = Search(maps.blocks, maps.edges, lanes).best();
  for (std::size_t i = 0; i < tilings.size(); ++i)
    if (gives_lanes(graph.operations[i], modes[i])) tilings[i] = best[maps.block_of(graph.operations[i].output)];
  return tilings;
}

}  // namespace featherweight
