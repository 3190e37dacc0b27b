#pragma once

// Gradient of Eq. 4's input for NCHW, where the channels of a cell lie planes apart: it is summed
// in tiles in shared memory, from which neighbouring lanes reduce neighbouring cells.

#include "../../common/cuda/atomics.cuh"
#include "common.cuh"

namespace scrn::srm::cuda {

// A warp takes a tile of output pixels and 32 channels, lane = channel. It walks over the pixels,
// two rows at a time, column by column, with a 3x3 window of sums in registers; what leaves the
// window is added to a tile of the input's cells in shared memory, where every lane owns its
// channel, so that no atomics are needed. What an offset takes out of the tile goes to memory at
// once.
inline constexpr int kScatterX = 16, kScatterY = 8, kScatterPixels = kScatterX * kScatterY;
inline constexpr int kScatterCells = 108;  // of the input, so that six blocks find room
inline constexpr int kCellRow = 33;
inline constexpr int kStageColumns = 8, kStagePixels = 2 * kStageColumns;
inline constexpr int kStageRow = 34;  // keeps the staging free of bank conflicts
template <typename A>
inline constexpr int kScatterWarps = 8 / static_cast<int>(sizeof(A));

// Twice what 132 multiprocessors hold at once.
inline constexpr int64_t kEnoughScatterBlocks = 2 * 132 * 6;

struct ScatterPlan {
  int64_t blocks = 0, blocks_per_image = 0, slabs = 0;
  int32_t tiles_x = 0, rows = 0;
  int32_t cells_y = 0, cells_x = 0;  // the tile in shared memory, at most kScatterCells
};

// One pixel. Its cell is counted from the tile's first one, so that both of its coordinates fit
// into one word, y above x, and are compared at once. As in the channels_last kernel, cell (y, x)
// of the tile lives at [y % 3][x % 3] of the window, and the weights are turned alike.
template <typename A>
struct alignas(16) ScatterTaps {
  A weight_x[3];
  int32_t first;  // the first tap; -1: outside; below: -2 - y, where the tile has not all taps
  A weight_y[3];
  int32_t last;  // the last tap that takes part, or x
};

inline constexpr int32_t kNoTaps = -1;

// The window of a lane. Cells that the border makes one are still apart here and in the tile.
template <typename A>
struct LaneWindow {
  A sum[3][3];
  int row[3];     // where the tile holds the window's first column, by place
  int32_t first;  // as in ScatterTaps
  int turn;       // the place of the first column
};

inline constexpr int32_t kNoWindow = 0x7fff7fff;  // has no tap inside

template <typename A>
SCRN_DEVICE void leave_column(LaneWindow<A>& window, A* cells, int q, int offset) {
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    cells[window.row[r] + offset] += window.sum[r][q];
    window.sum[r][q] = A(0);
  }
}

// Adds the whole window to the tile, whose cells of this lane lie kCellRow apart.
template <typename A>
SCRN_DEVICE void leave(LaneWindow<A>& window, A* cells) {
#pragma unroll
  for (int q = 0; q < 3; ++q) {
    const int ahead = q < window.turn ? q + 3 - window.turn : q - window.turn;
    leave_column(window, cells, q, ahead * kCellRow);
  }
}

// Moves the window to where it holds the taps from `first` to `last`.
template <typename A>
SCRN_DEVICE void follow(LaneWindow<A>& window, int32_t first, int32_t last, A* cells, int cells_x) {
  const uint32_t from = static_cast<uint32_t>(window.first);
  const int32_t missing = static_cast<int32_t>(
      ((static_cast<uint32_t>(first) - from) | (from + 0x00020002u - static_cast<uint32_t>(last))) &
      0x80008000u);
  if (missing == 0) return;
  // Only the coordinate that does not fit changes.
  int32_t next = (missing & 0x8000) != 0 ? first & 0xffff : window.first & 0xffff;
  next |= missing < 0 ? first & 0x7fff0000 : window.first & 0x7fff0000;
  if (next == window.first + 1) {
#pragma unroll
    for (int q = 0; q < 3; ++q) {
      if (window.turn == q) leave_column(window, cells, q, 0);
    }
    window.turn = window.turn < 2 ? window.turn + 1 : 0;
#pragma unroll
    for (int r = 0; r < 3; ++r) window.row[r] += kCellRow;
  } else {
    if (window.first != kNoWindow) leave(window, cells);
    const int y = next >> 16, x = next & 0xffff;
    window.turn = x % 3;
#pragma unroll
    for (int r = 0; r < 3; ++r) window.row[r] = (cell_at(y, r) * cells_x + x) * kCellRow;
  }
  window.first = next;
}

// The first cell of a tile in one dimension: around where its middle pixel samples, or would
// without its offset, if that leads outside. Two cells behind the border are the border's, too.
template <typename A>
SCRN_DEVICE int first_cell(const Taps<A>& taps, int middle, int in_size, int out_size, int cells) {
  bool active = false;
#pragma unroll
  for (int r = 0; r < 3; ++r) active = active || taps.weight[r] != A(0);
  const int centre =
      active ? taps.first : static_cast<int>(static_cast<int64_t>(middle) * in_size / out_size);
  const int first = at_most(centre - (cells - 3) / 2, in_size - (cells - 2));
  return first < 0 ? 0 : first;
}

template <typename A>
SCRN_DEVICE ScatterTaps<A> scatter_taps(const Taps<A>& tx, const Taps<A>& ty, int tile_x,
                                        int tile_y, const ScatterPlan& plan) {
  ScatterTaps<A> kept;
  bool active_x = false, active_y = false;
  int turn_x = tx.first - tile_x, turn_y = ty.first - tile_y;
  const bool inside =
      turn_x >= 0 && turn_x + 2 < plan.cells_x && turn_y >= 0 && turn_y + 2 < plan.cells_y;
  turn_x = inside ? turn_x % 3 : 0;
  turn_y = inside ? turn_y % 3 : 0;
#pragma unroll
  for (int place = 0; place < 3; ++place) {
    const int r = place < turn_x ? place + 3 - turn_x : place - turn_x;
    const int q = place < turn_y ? place + 3 - turn_y : place - turn_y;
    kept.weight_x[place] = r == 0 ? tx.weight[0] : r == 1 ? tx.weight[1] : tx.weight[2];
    kept.weight_y[place] = q == 0 ? ty.weight[0] : q == 1 ? ty.weight[1] : ty.weight[2];
    active_x = active_x || tx.weight[place] != A(0);
    active_y = active_y || ty.weight[place] != A(0);
  }
  kept.first = kNoTaps;
  kept.last = 0;
  if (active_x && active_y) {
    if (inside) {
      kept.first = (ty.first - tile_y) << 16 | (tx.first - tile_x);
      kept.last =
          kept.first + ((ty.weight[2] != A(0) ? 2 : 1) << 16) + (tx.weight[2] != A(0) ? 2 : 1);
    } else {
      kept.first = -2 - ty.first;
      kept.last = tx.first;
    }
  }
  return kept;
}

template <typename T, typename Index>
__global__ void __launch_bounds__(kScatterWarps<Accumulate<T>> * 32)
    scatter_planes_kernel(const SampleBackwardParams p, Accumulate<T>* const grad_input,
                          const ScatterPlan plan) {
  using A = Accumulate<T>;
  constexpr int kWarps = kScatterWarps<A>, kLoads = kStageColumns;
  SCRN_SHARED(A, tiles, [kWarps][kScatterCells * kCellRow]);
  SCRN_SHARED(A, stages, [kWarps][kStagePixels * kStageRow]);
  SCRN_SHARED(ScatterTaps<A>, taps, [kScatterPixels]);
  const SampleShape& s = p.shape;
  const Index in_plane = static_cast<Index>(s.in_h) * s.in_w;
  const Index out_plane = static_cast<Index>(s.out_h) * s.out_w;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int cells = plan.cells_y * plan.cells_x;
  for (int64_t work = blockIdx.x; work < plan.blocks; work += gridDim.x) {
    int64_t image, rest, tile, slab, tile_row, tile_column;
    split(work, plan.blocks_per_image, image, rest);
    split(rest, plan.slabs, tile, slab);
    split(tile, plan.tiles_x, tile_row, tile_column);
    const int y0 = static_cast<int>(tile_row) * plan.rows;
    const int x0 = static_cast<int>(tile_column) * kScatterX;
    const int rows = at_most(plan.rows, s.out_h - y0), columns = at_most(kScatterX, s.out_w - x0);
    const auto taps_at = [&](int dim, int y, int x) {
      const int64_t pixel = dim * out_plane + (static_cast<Index>(y) * s.out_w + x);
      return taps_of(
          s, dim, y, x,
          load_any<OffsetTypes<T>, A>(p.offset, p.offset_dtype, image * 2 * out_plane + pixel));
    };
    const int middle_y = y0 + rows / 2, middle_x = x0 + columns / 2;
    const int tile_y =
        first_cell(taps_at(1, middle_y, middle_x), middle_y, s.in_h, s.out_h, plan.cells_y);
    const int tile_x =
        first_cell(taps_at(0, middle_y, middle_x), middle_x, s.in_w, s.out_w, plan.cells_x);
    for (int i = threadIdx.x; i < rows * kScatterX; i += kWarps * 32) {
      const int row = i / kScatterX, column = i % kScatterX;
      if (column >= columns) continue;
      // In the order of the walk: two rows column by column, or the last one alone.
      const int pair = (row | 1) < rows ? 1 : 0;
      const int place = (row & ~1) * kScatterX + ((column << pair) | (row & 1));
      taps[place] = scatter_taps(taps_at(0, y0 + row, x0 + column),
                                 taps_at(1, y0 + row, x0 + column), tile_x, tile_y, plan);
    }
    __syncthreads();

    const int64_t c0 = (slab * kWarps + warp) * 32;
    if (c0 < s.channels) {
      const int count = static_cast<int>(min_of(32, s.channels - c0));
      A* const grad = grad_input + (image * s.channels + c0) * in_plane;
      A* const mine = tiles[warp] + lane;
      for (int i = lane; i < cells * kCellRow; i += 32) tiles[warp][i] = A(0);

      LaneWindow<A> window;
      window.first = kNoWindow;
      window.turn = 0;
#pragma unroll
      for (int r = 0; r < 3; ++r) {
        window.row[r] = 0;
#pragma unroll
        for (int q = 0; q < 3; ++q) window.sum[r][q] = A(0);
      }

      // The next pixels are on their way from memory while the present ones are summed.
      const T* above = static_cast<const T*>(p.grad_output) +
                       (image * s.channels + c0) * out_plane +
                       (static_cast<Index>(y0) * s.out_w + x0);
      const int stage_column = lane % kStageColumns, first_plane = lane / kStageColumns;
      T next[2][kLoads];
      const auto fetch = [&](int row, int begin) {
        const int column = begin + stage_column;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const T* source = above + (static_cast<Index>(row + r) * s.out_w + column);
#pragma unroll
          for (int k = 0; k < kLoads; ++k) {
            const int c = first_plane + k * (32 / kStageColumns);
            const bool there = row + r < rows && column < columns && c < count;
            next[r][k] = there ? source[c * out_plane] : narrow<T>(0.0f);
          }
        }
      };
      fetch(0, 0);
      for (int row = 0; row < rows; row += 2) {
        const int pair = row + 1 < rows ? 1 : 0;
        for (int begin = 0; begin < columns; begin += kStageColumns) {
          __syncwarp();
          A* const stage = stages[warp];
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            if (r > pair) continue;
            const int place = (stage_column << pair) | r;
#pragma unroll
            for (int k = 0; k < kLoads; ++k) {
              const int c = first_plane + k * (32 / kStageColumns);
              stage[place * kStageRow + c] = widen(next[r][k]);
            }
          }
          __syncwarp();
          const bool more = begin + kStageColumns < columns;
          if (more || row + 2 < rows) {
            fetch(more ? row : row + 2, more ? begin + kStageColumns : 0);
          }
          const int staged = at_most(kStageColumns, columns - begin) << pair;
          const ScatterTaps<A>* at = taps + (row * kScatterX + (begin << pair));
          const A* value = stage + lane;
#pragma unroll 1
          for (int i = 0; i < staged; ++i, ++at, value += kStageRow) {
            const int32_t first = at->first, last = at->last;
            if (first == kNoTaps) continue;
            const A u = *value;
            if (first >= 0) {
              follow(window, first, last, mine, plan.cells_x);
              // Taps that take no part have weight 0, which does no harm to a finite sum.
              if (u - u == A(0)) {
#pragma unroll
                for (int r = 0; r < 3; ++r) {
                  const A part = at->weight_y[r] * u;
#pragma unroll
                  for (int q = 0; q < 3; ++q) window.sum[r][q] += at->weight_x[q] * part;
                }
                continue;
              }
            }
            if (lane >= count) continue;
            const int y = first >= 0 ? tile_y + (first >> 16) : -2 - first;
            const int x = first >= 0 ? tile_x + (first & 0xffff) : last;
            const int turn_y = first >= 0 ? (first >> 16) % 3 : 0;
            const int turn_x = first >= 0 ? (first & 0xffff) % 3 : 0;
#pragma unroll 1
            for (int k = 0; k < 9; ++k) {
              const int r = k / 3, q = k - 3 * r;
              const A weight = at->weight_y[(r + turn_y) % 3] * at->weight_x[(q + turn_x) % 3];
              if (weight == A(0)) continue;
              const Index cell = static_cast<Index>(at_most(y + r, s.in_h - 1)) * s.in_w +
                                 at_most(x + q, s.in_w - 1);
              atomicAdd(grad + (lane * in_plane + cell), weight * u);
            }
          }
        }
      }
      if (window.first != kNoWindow) leave(window, mine);
      __syncwarp();
      for (int cell = lane; cell < cells; cell += 32) {
        const int row = cell / plan.cells_x, column = cell - row * plan.cells_x;
        A* place = grad + (static_cast<Index>(at_most(tile_y + row, s.in_h - 1)) * s.in_w +
                           at_most(tile_x + column, s.in_w - 1));
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

// Cells that `pixels` in a row reach in one dimension where the offsets vary little, two behind
// the border included.
inline int64_t reach(int64_t pixels, const Ratio& ratio, bool upsample, int64_t in_size) {
  const int64_t taps = upsample && ratio.mul != ratio.den ? 3 : 2;
  return std::min((pixels - 1) * ratio.mul / ratio.den + taps + 1, in_size + 2);
}

inline ScatterPlan plan_scatter(const SampleShape& s, int warps, const LaunchOptions& options) {
  ScatterPlan plan;
  const int64_t wide = reach(kScatterX, s.ratio_x, s.upsample, s.in_w);
  plan.tiles_x = static_cast<int32_t>(ceil_div(s.out_w, kScatterX));
  plan.slabs = ceil_div(s.channels, 32 * warps);
  int64_t high = 0;
  for (plan.rows = kScatterY;; plan.rows /= 2) {
    high = reach(plan.rows, s.ratio_y, s.upsample, s.in_h);
    plan.blocks_per_image = plan.tiles_x * ceil_div(s.out_h, plan.rows) * plan.slabs;
    plan.blocks = plan.blocks_per_image * s.batch;
    if (plan.rows == 2) break;
    const bool fits = wide * high <= kScatterCells;
    if (fits && plan.blocks >= enough(kEnoughScatterBlocks, options)) break;
  }
  plan.cells_y = static_cast<int32_t>(std::min<int64_t>(high, 8));
  plan.cells_x = static_cast<int32_t>(std::min(wide, int64_t{kScatterCells} / plan.cells_y));
  // What room is left goes to offsets that vary more.
  for (int n = 0; n < 2; ++n) {
    if (plan.cells_x - 2 < s.in_w && (plan.cells_x + 1) * plan.cells_y <= kScatterCells) {
      ++plan.cells_x;
    }
    if (plan.cells_y - 2 < s.in_h && plan.cells_x * (plan.cells_y + 1) <= kScatterCells) {
      ++plan.cells_y;
    }
  }
  return plan;
}

}  // namespace scrn::srm::cuda
