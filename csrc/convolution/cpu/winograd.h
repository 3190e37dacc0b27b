#pragma once

// A 3x3 convolution by Winograd's F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional
// Neural Networks", 2016): a patch of 6x6 pixels becomes 36 numbers a channel, each of which is
// multiplied by one weight for each result, and the 36 sums become 4x4 results: a quarter of the
// multiplications. A task takes a run of tiles through all three steps, so that what lies between
// stays in the L2 cache.

#include "../../common/cpu/parallel.h"
#include "../../common/cpu/vec.h"
#include "plan.h"

namespace scrn::convolution::cpu::SCRN_CPU_ISA {
namespace {

using namespace scrn::cpu::SCRN_CPU_ISA;
using V = Value<float>;
constexpr int kL = kLanes<float>;

// The polynomials are evaluated at 0, +-kA, +-kB and infinity: of the points tried these have the
// smallest errors, half of those at 0, +-1, +-2.
constexpr float kA = 0.625f, kB = 1.5f;
constexpr float kA2 = kA * kA, kB2 = kB * kB;

// Six neighbours to the polynomial's six points, kStep apart.
template <int kStep>
SCRN_INLINE void to_points(const V* d, V* result) {
  const V a2 = broadcast<float>(-kA2), b2 = broadcast<float>(-kB2), both = a2 + b2;
  const V product = broadcast<float>(kA2 * kB2);
  const V even_a = fma(b2, d[2], d[4]), odd_a = broadcast<float>(kA) * fma(b2, d[1], d[3]);
  const V even_b = fma(a2, d[2], d[4]), odd_b = broadcast<float>(kB) * fma(a2, d[1], d[3]);
  result[0] = fma(product, d[0], fma(both, d[2], d[4]));
  result[kStep] = even_a + odd_a;
  result[2 * kStep] = even_a - odd_a;
  result[3 * kStep] = even_b + odd_b;
  result[4 * kStep] = even_b - odd_b;
  result[5 * kStep] = fma(product, d[1], fma(both, d[3], d[5]));
}

// The sums at the six points to four neighbours, kStep apart.
template <int kStep>
SCRN_INLINE void from_points(const V* m, V* result) {
  const V even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
  const V cube = fma(broadcast<float>(kA * kA2), odd_a, m[5]);
  result[0] = m[0] + even_a + even_b;
  result[kStep] = fma(broadcast<float>(kB), odd_b, broadcast<float>(kA) * odd_a);
  result[2 * kStep] = fma(broadcast<float>(kB2), even_b, broadcast<float>(kA2) * even_a);
  result[3 * kStep] = fma(broadcast<float>(kB * kB2), odd_b, cube);
}

// A register of channels of a tile: `patch` is its first pixel, `points` its first point.
SCRN_INLINE void transform_patch(const float* patch, int64_t row, int64_t column, float* points,
                                 int64_t step) {
  V d[kPatch], half[kPoints];
#pragma GCC unroll 6
  for (int j = 0; j < kPatch; ++j) {
#pragma GCC unroll 6
    for (int i = 0; i < kPatch; ++i) d[i] = load(patch + i * row + j * column);
    to_points<kPatch>(d, half + j);
  }
#pragma GCC unroll 6
  for (int i = 0; i < kPatch; ++i) {
    to_points<1>(half + i * kPatch, d);
#pragma GCC unroll 6
    for (int j = 0; j < kPatch; ++j) store(points + (i * kPatch + j) * step, d[j]);
  }
}

SCRN_INLINE void transform_sums(const float* sums, int64_t step, V* results) {
  V m[kPatch], half[kPatch * kTile];
#pragma GCC unroll 6
  for (int j = 0; j < kPatch; ++j) {
#pragma GCC unroll 6
    for (int i = 0; i < kPatch; ++i) m[i] = load(sums + (i * kPatch + j) * step);
    from_points<kPatch>(m, half + j);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kTile; ++i) from_points<1>(half + i * kPatch, results + i * kTile);
}

// Sums that are kept in registers at a time: of kRows tiles, each kPanels panels.
constexpr int kPanelRegisters = kPanel / kL;
constexpr int kRows = kRegisterBytes == 16 ? 2 : 6;
constexpr int kPanels = kRegisterBytes == 64 ? 4 : 1;

// A run's products at one point.
struct Products {
  const float* points;   // [tiles, points_tile]
  const float* weights;  // panels, panel_step apart, of [channels, kPanel]
  float* sums;           // [tiles, sums_tile]
  const float* ahead;    // other panels, asked for meanwhile, and how many
  int64_t ahead_panels;
  int64_t points_tile, panel_step, sums_tile, channels;
};

template <int kCount, int kTiles>
SCRN_INLINE void multiply(const Products& p, int64_t tile) {
  constexpr int kRegisters = kCount * kPanelRegisters;
  const float* points = p.points + tile * p.points_tile;
  const float* weights = p.weights;
  const float* ahead = p.ahead + tile / kRows % p.ahead_panels * p.panel_step;
  V total[kTiles][kRegisters] = {};
  for (int64_t c = 0; c < p.channels; ++c, weights += kPanel, ahead += kPanel) {
    __builtin_prefetch(ahead);
    V w[kRegisters];
#pragma GCC unroll 16
    for (int i = 0; i < kRegisters; ++i) {
      w[i] = load(weights + i / kPanelRegisters * p.panel_step + i % kPanelRegisters * kL);
    }
#pragma GCC unroll 16
    for (int t = 0; t < kTiles; ++t) {
      const V x = broadcast<float>(points[t * p.points_tile + c]);
#pragma GCC unroll 16
      for (int i = 0; i < kRegisters; ++i) total[t][i] = fma(x, w[i], total[t][i]);
    }
  }
  float* sums = p.sums + tile * p.sums_tile;
#pragma GCC unroll 16
  for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 16
    for (int i = 0; i < kRegisters; ++i) store(sums + t * p.sums_tile + i * kL, total[t][i]);
  }
}

// The last tiles, fewer than kRows.
template <int kCount, int kTiles>
SCRN_INLINE void multiply_rest(const Products& p, int64_t tile, int64_t tiles) {
  if constexpr (kTiles != 0) {
    if (tiles == kTiles) return multiply<kCount, kTiles>(p, tile);
    multiply_rest<kCount, kTiles - 1>(p, tile, tiles);
  }
}

// The first kCount panels, or as many as there are.
template <int kCount>
void multiply_panels(const Products& p, int64_t tiles, int64_t panels) {
  if constexpr (kCount > 1) {
    if (panels < kCount) return multiply_panels<kCount - 1>(p, tiles, panels);
  }
  int64_t tile = 0;
  for (; tile + kRows <= tiles; tile += kRows) multiply<kCount, kRows>(p, tile);
  multiply_rest<kCount, kRows - 1>(p, tile, tiles - tile);
}

struct At {
  int64_t b, y, x;  // of a tile's first result
};
SCRN_INLINE At position(const ForwardPlan& plan, int64_t tile) {
  return {tile / plan.tiles_x / plan.tiles_y, tile / plan.tiles_x % plan.tiles_y * kTile,
          tile % plan.tiles_x * kTile};
}

// A copy of the tile's patch, with zeros outside the image. What stands behind the last channel is
// multiplied by nothing.
void copy_patch(const ForwardPlan& plan, const At& at, float* copy) {
  const ForwardParams& p = plan.params;
  for (int i = 0; i < kPatch; ++i) {
    for (int j = 0; j < kPatch; ++j, copy += plan.padded_channels) {
      const int64_t y = at.y + i - 1, x = at.x + j - 1;
      const bool inside = y >= 0 && y < p.height && x >= 0 && x < p.width;
      if (inside) {
        const float* pixel = p.input + ((at.b * p.height + y) * p.width + x) * p.channels;
        memcpy(copy, pixel, sizeof(float) * p.channels);
      } else {
        memset(copy, 0, sizeof(float) * p.channels);
      }
    }
  }
}

void read_tile(const ForwardPlan& plan, int64_t tile, float* copy, float* points) {
  const ForwardParams& p = plan.params;
  const At at = position(plan, tile);
  const bool is_inside =
      at.y != 0 && at.x != 0 && at.y + kTile < p.height && at.x + kTile < p.width;
  const float* patch = copy;
  int64_t column = plan.padded_channels, row = kPatch * column;
  if (is_inside && column == p.channels) {
    row = p.width * column;
    patch = p.input + ((at.b * p.height + at.y - 1) * p.width + at.x - 1) * column;
  } else {
    copy_patch(plan, at, copy);
  }
  for (int64_t c = 0; c < plan.padded_channels; c += kL) {
    transform_patch(patch + c, row, column, points + c, plan.points_step);
  }
}

// Results f0 .. f0 + features - 1 of a tile.
void write_tile(const ForwardPlan& plan, int64_t tile, const float* sums, int64_t f0,
                int64_t features) {
  const ForwardParams& p = plan.params;
  const At at = position(plan, tile);
  const int64_t rows = p.height - at.y < kTile ? p.height - at.y : kTile;
  const int64_t columns = p.width - at.x < kTile ? p.width - at.x : kTile;
  float* output = p.output + ((at.b * p.height + at.y) * p.width + at.x) * p.features + f0;
  const V low = broadcast<float>(p.low), high = broadcast<float>(p.high);
  for (int64_t f = 0; f < features; f += kL) {
    V results[kTile * kTile];
    transform_sums(sums + f, plan.sums_step, results);
    const int64_t kept = features - f < kL ? features - f : kL;
    float bias[kL] = {};
    if (p.bias != nullptr) memcpy(bias, p.bias + f0 + f, sizeof(float) * kept);
    const V b = load(bias);
#pragma GCC unroll 16
    for (int i = 0; i < kTile * kTile; ++i) {
      V result = results[i] + b;
      result = result < low ? low : result;
      results[i] = result > high ? high : result;
    }
#pragma GCC unroll 4
    for (int i = 0; i < kTile; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < kTile; ++j) {
        if (i >= rows || j >= columns) continue;
        float* target = output + (i * p.width + j) * p.features + f;
        if (kept == kL) {
          store(target, results[i * kTile + j]);
        } else {
          memcpy(target, &results[i * kTile + j], sizeof(float) * kept);
        }
      }
    }
  }
}

// Panels panel .. panel + count - 1 of a run's results.
void multiply_run(const ForwardPlan& plan, const float* points, int64_t tiles, int64_t panel,
                  int64_t count, float* sums) {
  const ForwardParams& p = plan.params;
  Products products;
  products.points_tile = plan.padded_channels;
  products.panel_step = p.channels * kPanel;
  products.sums_tile = plan.kept_panels * kPanel;
  products.channels = p.channels;
  const int64_t panels = ceil_div(p.features, kPanel);
  const auto weights_of = [&](int point, int64_t k) {
    return p.packed + (point % kPoints * panels + panel + k) * products.panel_step;
  };
  for (int i = 0; i < kPoints; ++i) {
    products.points = points + i * plan.points_step;
    for (int64_t k = 0; k < count; k += kPanels) {
      products.weights = weights_of(i, k);
      // Those of this point that come next, and behind the last of them the next point's.
      const bool is_last = k + kPanels >= count;
      products.ahead = is_last ? weights_of(i + 1, 0) : weights_of(i, k + kPanels);
      const int64_t left = is_last ? count : count - k - kPanels;
      products.ahead_panels = left < kPanels ? left : kPanels;
      products.sums = sums + i * plan.sums_step + k * kPanel;
      multiply_panels<kPanels>(products, tiles, count - k);
    }
  }
}

// Tasks begin .. end - 1, each a run's group of panels.
void forward(const ForwardPlan& plan, int64_t begin, int64_t end) {
  const ForwardParams& p = plan.params;
  const int64_t all = p.batch * plan.tiles_y * plan.tiles_x;
  const int64_t panels = ceil_div(p.features, kPanel);
  float* points = static_cast<float*>(scrn::cpu::thread_scratch(scratch_bytes(plan)));
  float* sums = points + kPoints * plan.points_step;
  float* copy = sums + kPoints * plan.sums_step;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t first = task / plan.groups * plan.run;
    const int64_t tiles = all - first < plan.run ? all - first : plan.run;
    for (int64_t t = 0; t < tiles; ++t) {
      read_tile(plan, first + t, copy, points + t * plan.padded_channels);
    }
    int64_t panel = task % plan.groups * plan.group_panels;
    const int64_t last = panels - panel < plan.group_panels ? panels : panel + plan.group_panels;
    for (; panel < last; panel += plan.kept_panels) {
      const int64_t count = last - panel < plan.kept_panels ? last - panel : plan.kept_panels;
      multiply_run(plan, points, tiles, panel, count, sums);
      const int64_t f0 = panel * kPanel, rest = p.features - f0;
      for (int64_t t = 0; t < tiles; ++t) {
        write_tile(plan, first + t, sums + t * plan.kept_panels * kPanel, f0,
                   rest < count * kPanel ? rest : count * kPanel);
      }
    }
  }
}

constexpr Kernels kKernels = {forward, kRegisterBytes};

}  // namespace
}  // namespace scrn::convolution::cpu::SCRN_CPU_ISA
