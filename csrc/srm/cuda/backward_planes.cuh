#pragma once

// Gradients of Eq. 4 for NCHW: one kernel for the offset's, which needs no reduction across
// pixels, and one that scatters into the input's through tiles in shared memory.

#include "../../common/atomics.cuh"
#include "common.cuh"

namespace scrn::cuda {

// Gradient of the offset: lane = pixel, and the warps of a block divide the channels.
inline constexpr int kPlaneGroups = 8;
inline constexpr int kPlanePixels = 32;
inline constexpr int kPlaneThreads = kPlaneGroups * kPlanePixels;

struct OffsetGradPlan {
  int64_t blocks = 0, blocks_per_image = 0;
  int32_t tiles_x = 0, tile_x_log2 = 0;
};

template <typename T, typename Index>
__global__ void __launch_bounds__(kPlaneThreads, std::is_same_v<T, double> ? 2 : 3)
    offset_grad_planes_kernel(const SampleBackwardParams p, const OffsetGradPlan plan) {
  using A = Accumulate<T>;
  SCRN_SHARED(TapWeights<A>, weights, [2][kPlanePixels]);
  SCRN_SHARED(TapSlopes<A>, slopes, [2][kPlanePixels]);
  SCRN_SHARED(A, partial, [2][kPlaneGroups][kPlanePixels]);
  const SampleShape& s = p.shape;
  const Index in_plane = static_cast<Index>(s.in_h) * s.in_w;
  const Index out_plane = static_cast<Index>(s.out_h) * s.out_w;
  const int group = threadIdx.x / kPlanePixels, lane = threadIdx.x % kPlanePixels;
  for (int64_t work = blockIdx.x; work < plan.blocks; work += gridDim.x) {
    int64_t image, tile, tile_y, tile_x;
    split(work, plan.blocks_per_image, image, tile);
    split(tile, plan.tiles_x, tile_y, tile_x);
    const int log2 = plan.tile_x_log2;
    const int y = static_cast<int>(tile_y) * (kPlanePixels >> log2) + (lane >> log2);
    const int x = (static_cast<int>(tile_x) << log2) + (lane & ((1 << log2) - 1));
    const bool live = y < s.out_h && x < s.out_w;
    const Index pixel = static_cast<Index>(y) * s.out_w + x;
    const int64_t plane_first = image * 2 * out_plane;
    if (live && group < 2) {
      const A offset = load_any<OffsetTypes<T>, A>(p.offset, p.offset_dtype,
                                                   plane_first + (group * out_plane + pixel));
      keep_taps(taps_of(s, group, y, x, offset), weights[group][lane], slopes[group][lane]);
    }
    __syncthreads();

    A dx = A(0), dy = A(0);
    if (live && weights[0][lane].first >= 0 && weights[1][lane].first >= 0) {
      const TapWeights<A> tx = weights[0][lane], ty = weights[1][lane];
      const TapSlopes<A> sx = slopes[0][lane], sy = slopes[1][lane];
      A along_x[9], along_y[9];
      int columns[3];
      const T* rows[3];
      const T* input = static_cast<const T*>(p.input) + (image * s.channels + group) * in_plane;
#pragma unroll
      for (int r = 0; r < 3; ++r) {
        // A tap that takes no part reads where one does that comes before it, or the first.
        const int cell_x = (sx.active >> r & 1) != 0 ? r : (sx.active & 1) != 0 ? 0 : 1;
        const int cell_y = (sy.active >> r & 1) != 0 ? r : (sy.active & 1) != 0 ? 0 : 1;
        columns[r] = at_most(tx.first + cell_x, s.in_w - 1);
        rows[r] = input + static_cast<Index>(at_most(ty.first + cell_y, s.in_h - 1)) * s.in_w;
#pragma unroll
        for (int q = 0; q < 3; ++q) {
          along_x[r * 3 + q] = ty.weight[r] * sx.slope[q];
          along_y[r * 3 + q] = sy.slope[r] * tx.weight[q];
        }
      }
      const T* above =
          static_cast<const T*>(p.grad_output) + (image * s.channels + group) * out_plane + pixel;
#pragma unroll(sizeof(Index) == 4 ? 2 : 1)
      for (int64_t c = group; c < s.channels; c += kPlaneGroups) {
        const A u = widen(*above);
        A slope_x = A(0), slope_y = A(0);
#pragma unroll
        for (int k = 0; k < 9; ++k) {
          const A value = widen(rows[k / 3][columns[k % 3]]);
          slope_x += along_x[k] * value;
          slope_y += along_y[k] * value;
        }
        dx += u * slope_x;
        dy += u * slope_y;
        above += kPlaneGroups * out_plane;
#pragma unroll
        for (int r = 0; r < 3; ++r) rows[r] += kPlaneGroups * in_plane;
      }
    }
    partial[0][group][lane] = dx;
    partial[1][group][lane] = dy;
    __syncthreads();
    if (live && group < 2) {
      A sum = A(0);
#pragma unroll
      for (int g = 0; g < kPlaneGroups; ++g) sum += partial[group][g][lane];
      store_any<OffsetTypes<T>>(p.grad_offset, p.offset_dtype,
                                plane_first + (group * out_plane + pixel), sum);
    }
  }
}

// Gradient of the input: a warp takes a tile of 16 pixels by `rows` and 32 channels, lane =
// channel. It walks over the pixels with a 3x3 window of sums in registers, which it adds to a
// tile of the input's cells in shared memory; there every lane owns its column, so that no atomics
// are needed. The tile then goes to memory with neighbouring lanes on neighbouring cells. What an
// offset takes out of the tile goes to memory at once.
inline constexpr int kScatterX = 16, kScatterY = 4, kScatterPixels = kScatterX * kScatterY;
inline constexpr int kScatterCells = 76;
inline constexpr int kStagePixels = 8, kStageRow = 36;  // keeps the staging free of bank conflicts
inline constexpr int kCellRow = 33;
template <typename A>
inline constexpr int kScatterWarps = 16 / static_cast<int>(sizeof(A));  // within 48 KiB

struct ScatterPlan {
  int64_t blocks = 0, blocks_per_image = 0, slabs = 0;
  int32_t tiles_x = 0, rows = 0;
  int32_t cells_y = 0, cells_x = 0;  // the tile in shared memory, at most kScatterCells
};

// The part of the gradient that one warp gathers.
template <typename A, typename Index>
struct CellTile {
  A* cells;  // of this lane, kCellRow apart
  A* grad;   // this lane's plane in memory
  int y, x, cells_y, cells_x, in_h, in_w;

  SCRN_DEVICE void add(const CellTile& tile, int cell_y, int cell_x, A value) {
    if (cell_y < 0 || value == A(0)) return;
    const int row = at_most(cell_y, tile.in_h - 1), column = at_most(cell_x, tile.in_w - 1);
    const int ly = row - tile.y, lx = column - tile.x;
    if (ly >= 0 && ly < tile.cells_y && lx >= 0 && lx < tile.cells_x) {
      tile.cells[(ly * tile.cells_x + lx) * kCellRow] += value;
    } else {
      atomicAdd(tile.grad + (static_cast<Index>(row) * tile.in_w + column), value);
    }
  }
};

template <typename T, typename Index>
__global__ void __launch_bounds__(kScatterWarps<Accumulate<T>> * 32)
    scatter_planes_kernel(const SampleBackwardParams p, Accumulate<T>* const grad_input,
                          const ScatterPlan plan) {
  using A = Accumulate<T>;
  constexpr int kWarps = kScatterWarps<A>;
  SCRN_SHARED(A, tiles, [kWarps][kScatterCells * kCellRow]);
  SCRN_SHARED(A, stages, [kWarps][kStagePixels][kStageRow]);
  SCRN_SHARED(TapWeights<A>, weights, [2][kScatterPixels]);
  const SampleShape& s = p.shape;
  const Index in_plane = static_cast<Index>(s.in_h) * s.in_w;
  const Index out_plane = static_cast<Index>(s.out_h) * s.out_w;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int cells = plan.cells_y * plan.cells_x;
  for (int64_t work = blockIdx.x; work < plan.blocks; work += gridDim.x) {
    int64_t image, rest, tile, slab, tile_y, tile_x;
    split(work, plan.blocks_per_image, image, rest);
    split(rest, plan.slabs, tile, slab);
    split(tile, plan.tiles_x, tile_y, tile_x);
    const int y0 = static_cast<int>(tile_y) * plan.rows;
    const int x0 = static_cast<int>(tile_x) * kScatterX;
    const int rows = at_most(plan.rows, s.out_h - y0), columns = at_most(kScatterX, s.out_w - x0);
    for (int task = threadIdx.x; task < 2 * kScatterPixels; task += kWarps * 32) {
      const int dim = task / kScatterPixels, slot = task % kScatterPixels;
      const int row = slot / kScatterX, column = slot % kScatterX;
      if (row < rows && column < columns) {
        const Index pixel = static_cast<Index>(y0 + row) * s.out_w + (x0 + column);
        const A offset = load_any<OffsetTypes<T>, A>(
            p.offset, p.offset_dtype, image * 2 * out_plane + (dim * out_plane + pixel));
        const Taps<A> taps = taps_of(s, dim, y0 + row, x0 + column, offset);
        TapSlopes<A> slopes;
        keep_taps(taps, weights[dim][slot], slopes, taps.first % 3);
      }
    }
    __syncthreads();

    const int64_t c0 = (slab * kWarps + warp) * 32;
    if (c0 < s.channels) {
      const int count = static_cast<int>(min_of(32, s.channels - c0));
      // Where the middle of the tile samples; without its offset, if that leads outside.
      const int middle_y = rows / 2, middle_x = columns / 2,
                middle = middle_y * kScatterX + middle_x;
      const int first_y = weights[1][middle].first, first_x = weights[0][middle].first;
      CellTile<A, Index> target;
      target.y = first_y >= 0
                     ? first_y
                     : static_cast<int>(static_cast<int64_t>(y0 + middle_y) * s.in_h / s.out_h);
      target.x = first_x >= 0
                     ? first_x
                     : static_cast<int>(static_cast<int64_t>(x0 + middle_x) * s.in_w / s.out_w);
      target.y = at_most(target.y - (plan.cells_y - 2) / 2, s.in_h - plan.cells_y);
      target.x = at_most(target.x - (plan.cells_x - 2) / 2, s.in_w - plan.cells_x);
      target.y = target.y < 0 ? 0 : target.y;
      target.x = target.x < 0 ? 0 : target.x;
      target.cells_y = plan.cells_y;
      target.cells_x = plan.cells_x;
      target.in_h = s.in_h;
      target.in_w = s.in_w;
      target.cells = tiles[warp] + lane;
      A* const grad = grad_input + (image * s.channels + c0) * in_plane;
      target.grad = grad + lane * in_plane;
      for (int i = lane; i < cells * kCellRow; i += 32) tiles[warp][i] = A(0);
      __syncwarp();

      // As in the channels_last kernel: cell (y, x) at [y % 3][x % 3].
      A sums[3][3];
#pragma unroll
      for (int r = 0; r < 3; ++r) {
#pragma unroll
        for (int q = 0; q < 3; ++q) sums[r][q] = A(0);
      }
      int base_y = kEmptyWindow, base_x = kEmptyWindow;
      const T* above = static_cast<const T*>(p.grad_output) + (image * s.channels + c0) * out_plane;
      for (int row = 0; row < rows; ++row) {
        for (int begin = 0; begin < columns; begin += kStagePixels) {
          const int staged = at_most(kStagePixels, columns - begin);
          const int column = lane % kStagePixels;
          const Index pixel = static_cast<Index>(y0 + row) * s.out_w + (x0 + begin + column);
          __syncwarp();
#pragma unroll
          for (int c = lane / kStagePixels; c < 32; c += 32 / kStagePixels) {
            stages[warp][column][c] =
                column < staged && c < count ? widen(above[c * out_plane + pixel]) : A(0);
          }
          __syncwarp();
          for (int i = 0; i < staged; ++i) {
            const int slot = row * kScatterX + begin + i;
            const TapWeights<A> tx = weights[0][slot], ty = weights[1][slot];
            if (tx.first < 0 || ty.first < 0) continue;
            if (tx.first != base_x || ty.first != base_y) {
#pragma unroll
              for (int r = 0; r < 3; ++r) {
                const int from_y = cell_at(base_y, r), to_y = cell_at(ty.first, r);
#pragma unroll
                for (int q = 0; q < 3; ++q) {
                  const int from_x = cell_at(base_x, q), to_x = cell_at(tx.first, q);
                  if (from_y == to_y && from_x == to_x) continue;
                  CellTile<A, Index>::add(target, from_y, from_x, sums[r][q]);
                  sums[r][q] = A(0);
                }
              }
              base_y = ty.first;
              base_x = tx.first;
            }
            const A u = stages[warp][i][lane];
#pragma unroll
            for (int r = 0; r < 3; ++r) {
              if (ty.weight[r] == A(0)) continue;
              const A part = ty.weight[r] * u;
#pragma unroll
              for (int q = 0; q < 3; ++q) {
                if (tx.weight[q] != A(0)) sums[r][q] += tx.weight[q] * part;
              }
            }
          }
        }
      }
#pragma unroll
      for (int r = 0; r < 3; ++r) {
#pragma unroll
        for (int q = 0; q < 3; ++q) {
          CellTile<A, Index>::add(target, cell_at(base_y, r), cell_at(base_x, q), sums[r][q]);
        }
      }
      __syncwarp();
      for (int cell = lane; cell < cells; cell += 32) {
        const int row = cell / plan.cells_x;
        A* place = grad + (static_cast<Index>(target.y + row) * s.in_w +
                           (target.x + (cell - row * plan.cells_x)));
        for (int c = 0; c < count; ++c) {
          const A value = tiles[warp][cell * kCellRow + c];
          if (value != A(0)) atomicAdd(place, value);
          place += in_plane;
        }
      }
    }
    __syncthreads();
  }
}

inline OffsetGradPlan plan_offset_grad(const SampleShape& s) {
  OffsetGradPlan plan;
  plan.tile_x_log2 = s.out_w > 16 ? 5 : s.out_w > 8 ? 4 : 3;
  plan.tiles_x = static_cast<int32_t>(ceil_div(s.out_w, int64_t{1} << plan.tile_x_log2));
  plan.blocks_per_image = plan.tiles_x * ceil_div(s.out_h, kPlanePixels >> plan.tile_x_log2);
  plan.blocks = plan.blocks_per_image * s.batch;
  return plan;
}

// Cells that `pixels` in a row reach in one dimension where the offsets vary little.
inline int64_t reach(int64_t pixels, const Ratio& ratio, bool upsample, int64_t in_size) {
  const int64_t taps = upsample && ratio.mul != ratio.den ? 3 : 2;
  return std::min((pixels - 1) * ratio.mul / ratio.den + taps + 1, in_size);
}

inline ScatterPlan plan_scatter(const SampleShape& s, int warps) {
  ScatterPlan plan;
  const int64_t wide = reach(kScatterX, s.ratio_x, s.upsample, s.in_w);
  int64_t high = 0;
  for (plan.rows = kScatterY;; plan.rows /= 2) {
    high = reach(plan.rows, s.ratio_y, s.upsample, s.in_h);
    if (plan.rows == 1 || wide * high <= kScatterCells) break;
  }
  plan.cells_y = static_cast<int32_t>(std::min<int64_t>(high, 8));
  plan.cells_x = static_cast<int32_t>(std::min(wide, int64_t{kScatterCells} / plan.cells_y));
  // What room is left goes to offsets that vary more.
  if (plan.cells_x < s.in_w && (plan.cells_x + 1) * plan.cells_y <= kScatterCells) ++plan.cells_x;
  if (plan.cells_y < s.in_h && plan.cells_x * (plan.cells_y + 1) <= kScatterCells) ++plan.cells_y;
  plan.tiles_x = static_cast<int32_t>(ceil_div(s.out_w, kScatterX));
  plan.slabs = ceil_div(s.channels, 32 * warps);
  plan.blocks_per_image = plan.tiles_x * ceil_div(s.out_h, plan.rows) * plan.slabs;
  plan.blocks = plan.blocks_per_image * s.batch;
  return plan;
}

}  // namespace scrn::cuda
