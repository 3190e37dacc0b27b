#pragma once

// Lists of the output pixels by the base cell that they sample, each in the order of the pixels:
// what a gather needs to sum a cell's gradient in a fixed order. Built by stable counting of the
// cell's number, eight bits a pass, so that the work is linear in the pixels wherever they sample,
// all of them in one cell included. Positions and cells are counted within an image.

#include "../../common/cuda/fill.cuh"
#include "common.cuh"

namespace scrn::srm::cuda {

inline constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
inline constexpr int kListWarps = kThreads / 32;
inline constexpr int kListRounds = 16;  // of 32 pixels, for each warp
inline constexpr int kListTile = kThreads * kListRounds;
// Whole stretches of a list that belong to one cell are summed by blocks of their own.
inline constexpr int kUnit = 256;

template <typename Index>
struct Span {
  Index begin, end;  // 0, 0: empty
};

template <typename A, typename Index>
struct PixelLists {
  int64_t batch = 0, pixels = 0, cells = 0;  // of one image
  int64_t tiles = 0, units = 0;              // of one image; whole units only
  int passes = 0;
  Index* keys[2] = {};            // [batch][pixels]; a pixel outside has the key `cells`
  Index* order[2] = {};           // [batch][pixels]
  Index* histogram = nullptr;     // [batch][kDigits][tiles]
  Index* totals = nullptr;        // [batch][kDigits]
  Span<Index>* spans = nullptr;   // [batch][cells]
  TapWeights<A>* taps = nullptr;  // [2][batch][pixels], by pixel
  A* unit_sums = nullptr;         // [batch][units][9][channels]
  size_t bytes = 0;

  const Index* sorted_keys() const { return keys[passes % 2]; }
  const Index* sorted_pixels() const { return order[passes % 2]; }
};

// Lays the arrays out in `workspace`, which may be null where only `bytes` is wanted.
template <typename A, typename Index>
PixelLists<A, Index> lay_out_lists(const SampleShape& s, void* workspace) {
  PixelLists<A, Index> lists;
  lists.batch = s.batch;
  lists.pixels = static_cast<int64_t>(s.out_h) * s.out_w;
  lists.cells = static_cast<int64_t>(s.in_h) * s.in_w;
  lists.tiles = ceil_div(lists.pixels, kListTile);
  lists.units = lists.pixels / kUnit;
  for (int64_t rest = lists.cells; rest > 0; rest >>= kDigitBits) ++lists.passes;
  auto take = [&](auto*& pointer, int64_t count) {
    using E = std::remove_reference_t<decltype(*pointer)>;
    if (workspace != nullptr) {
      pointer = reinterpret_cast<E*>(static_cast<unsigned char*>(workspace) + lists.bytes);
    }
    lists.bytes += (static_cast<size_t>(count) * sizeof(E) + 15) / 16 * 16;
  };
  for (int i = 0; i < 2; ++i) {
    take(lists.keys[i], s.batch * lists.pixels);
    take(lists.order[i], s.batch * lists.pixels);
  }
  take(lists.histogram, s.batch * kDigits * lists.tiles);
  take(lists.totals, s.batch * kDigits);
  take(lists.spans, s.batch * lists.cells);
  take(lists.taps, 2 * s.batch * lists.pixels);
  take(lists.unit_sums, s.batch * lists.units * 9 * s.channels);
  return lists;
}

template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads)
    list_keys_kernel(const SampleBackwardParams p, const PixelLists<Accumulate<T>, Index> lists,
                     int64_t blocks_per_image) {
  using A = Accumulate<T>;
  const SampleShape& s = p.shape;
  for (int64_t work = blockIdx.x; work < blocks_per_image * lists.batch; work += gridDim.x) {
    int64_t image, block, line, column;
    split(work, blocks_per_image, image, block);
    const int64_t pixel = block * kThreads + threadIdx.x;
    if (pixel >= lists.pixels) continue;
    split(pixel, s.out_w, line, column);
    TapWeights<A> weights[2];
#pragma unroll
    for (int dim = 0; dim < 2; ++dim) {
      const A offset = load_any<OffsetTypes<T>, A>(p.offset, p.offset_dtype,
                                                   (image * 2 + dim) * lists.pixels + pixel);
      TapSlopes<A> slopes;
      keep_taps(taps_of(s, dim, static_cast<int>(line), static_cast<int>(column), offset),
                weights[dim], slopes);
      lists.taps[(dim * lists.batch + image) * lists.pixels + pixel] = weights[dim];
    }
    const bool inside = weights[0].first >= 0 && weights[1].first >= 0;
    lists.keys[0][image * lists.pixels + pixel] =
        inside ? static_cast<Index>(weights[1].first) * s.in_w + weights[0].first
               : static_cast<Index>(lists.cells);
  }
}

SCRN_DEVICE int population(unsigned mask) {
#if defined(__CUDA_ARCH__)
  return __popc(mask);
#else
  return __builtin_popcount(mask);
#endif
}

// The lanes of a warp whose digit is this lane's. Every lane calls it; those of no pixel belong to
// no set.
SCRN_DEVICE unsigned lanes_alike(int digit, bool valid) {
  unsigned alike = __ballot_sync(kFullWarp, valid);
#pragma unroll
  for (int bit = 0; bit < kDigitBits; ++bit) {
    const bool set = (digit >> bit & 1) != 0;
    const unsigned with = __ballot_sync(kFullWarp, set);
    alike &= set ? with : ~with;
  }
  return alike;
}

template <typename Index>
SCRN_DEVICE int digit_of(Index key, int pass) {
  return static_cast<int>(key >> (pass * kDigitBits)) & (kDigits - 1);
}

// Sum over the lower threads of the block; `total` gets the sum over all.
template <typename Index>
SCRN_DEVICE Index sum_below(Index value, Index (&warp_sums)[kListWarps], Index& total) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Index sum = value;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const Index below = __shfl_up_sync(kFullWarp, sum, step);
    if (lane >= step) sum += below;
  }
  __syncthreads();  // the sums of the call before have been read
  if (lane == 31) warp_sums[warp] = sum;
  __syncthreads();
  total = 0;
  Index before = 0;
#pragma unroll
  for (int w = 0; w < kListWarps; ++w) {
    if (w < warp) before += warp_sums[w];
    total += warp_sums[w];
  }
  return before + sum - value;
}

// How many pixels of each warp's stretch have which digit. No two lanes add to one count at a
// time.
template <typename Index>
SCRN_DEVICE void count_digits(const Index* keys, int64_t first, int64_t pixels, int pass,
                              int (&counts)[kListWarps][kDigits]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int i = threadIdx.x; i < kListWarps * kDigits; i += kThreads) {
    counts[i / kDigits][i % kDigits] = 0;
  }
  __syncthreads();
  for (int round = 0; round < kListRounds; ++round) {
    const int64_t at = first + (warp * kListRounds + round) * 32 + lane;
    const bool valid = at < pixels;
    const int digit = valid ? digit_of(keys[at], pass) : 0;
    const unsigned alike = lanes_alike(digit, valid);
    const unsigned lower = (1u << lane) - 1;
    if (valid && (alike & lower) == 0) counts[warp][digit] += population(alike);
    __syncwarp();
  }
  __syncthreads();
}

template <typename Index>
__global__ void __launch_bounds__(kThreads)
    list_count_kernel(const Index* keys, Index* histogram, int64_t batch, int64_t pixels,
                      int64_t tiles, int pass) {
  SCRN_SHARED(int, counts, [kListWarps][kDigits]);
  for (int64_t work = blockIdx.x; work < tiles * batch; work += gridDim.x) {
    int64_t image, tile;
    split(work, tiles, image, tile);
    count_digits(keys + image * pixels, tile * kListTile, pixels, pass, counts);
    for (int digit = threadIdx.x; digit < kDigits; digit += kThreads) {
      int sum = 0;
#pragma unroll
      for (int w = 0; w < kListWarps; ++w) sum += counts[w][digit];
      histogram[(image * kDigits + digit) * tiles + tile] = sum;
    }
    __syncthreads();
  }
}

// Turns the counts of each digit into sums over the tiles before.
template <typename Index>
__global__ void __launch_bounds__(kThreads)
    list_scan_kernel(Index* histogram, Index* totals, int64_t rows, int64_t tiles) {
  SCRN_SHARED(Index, warp_sums, [kListWarps]);
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    Index carry = 0;
    for (int64_t begin = 0; begin < tiles; begin += kThreads) {
      const int64_t tile = begin + threadIdx.x;
      const Index count = tile < tiles ? histogram[row * tiles + tile] : Index(0);
      Index total;
      const Index before = sum_below(count, warp_sums, total);
      if (tile < tiles) histogram[row * tiles + tile] = carry + before;
      carry += total;
    }
    if (threadIdx.x == 0) totals[row] = carry;
  }
}

// Moves every pixel behind those of lower digit and, of the same digit, those before it. A null
// `order_in`: pixels lie in their own order.
template <typename Index>
__global__ void __launch_bounds__(kThreads)
    list_place_kernel(const Index* keys_in, const Index* order_in, Index* keys_out,
                      Index* order_out, const Index* histogram, const Index* totals, int64_t batch,
                      int64_t pixels, int64_t tiles, int pass) {
  SCRN_SHARED(int, counts, [kListWarps][kDigits]);
  SCRN_SHARED(Index, places, [kListWarps][kDigits]);
  SCRN_SHARED(Index, warp_sums, [kListWarps]);
  static_assert(kDigits == 2 * kThreads, "two digits to a thread");
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int64_t work = blockIdx.x; work < tiles * batch; work += gridDim.x) {
    int64_t image, tile;
    split(work, tiles, image, tile);
    const Index* keys = keys_in + image * pixels;
    count_digits(keys, tile * kListTile, pixels, pass, counts);
    const Index* sums = totals + image * kDigits + 2 * threadIdx.x;
    const Index low = sums[0];
    Index total;
    Index start = sum_below(static_cast<Index>(low + sums[1]), warp_sums, total);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int digit = 2 * threadIdx.x + i;
      Index place = start + histogram[(image * kDigits + digit) * tiles + tile];
#pragma unroll
      for (int w = 0; w < kListWarps; ++w) {
        places[w][digit] = place;
        place += counts[w][digit];
      }
      start += low;
    }
    __syncthreads();
    for (int round = 0; round < kListRounds; ++round) {
      const int64_t at = tile * kListTile + (warp * kListRounds + round) * 32 + lane;
      const bool valid = at < pixels;
      const Index key = valid ? keys[at] : Index(0);
      const int digit = digit_of(key, pass);
      const unsigned alike = lanes_alike(digit, valid);
      const int rank = population(alike & ((1u << lane) - 1));
      Index place = 0;
      if (valid) place = places[warp][digit] + rank;
      __syncwarp();
      if (valid) {
        if (rank == 0) places[warp][digit] += population(alike);
        keys_out[image * pixels + place] = key;
        order_out[image * pixels + place] =
            order_in != nullptr ? order_in[image * pixels + at] : static_cast<Index>(at);
      }
      __syncwarp();
    }
    __syncthreads();
  }
}

// `spans` is zero before.
template <typename Index>
__global__ void __launch_bounds__(kThreads)
    list_spans_kernel(const Index* keys, Span<Index>* spans, int64_t batch, int64_t pixels,
                      int64_t cells, int64_t blocks_per_image) {
  for (int64_t work = blockIdx.x; work < blocks_per_image * batch; work += gridDim.x) {
    int64_t image, block;
    split(work, blocks_per_image, image, block);
    const int64_t at = block * kThreads + threadIdx.x;
    if (at >= pixels) continue;
    const Index* sorted = keys + image * pixels;
    const Index key = sorted[at];
    if (key >= cells) continue;
    Span<Index>& span = spans[image * cells + key];
    if (at == 0 || sorted[at - 1] != key) span.begin = static_cast<Index>(at);
    if (at + 1 == pixels || sorted[at + 1] != key) span.end = static_cast<Index>(at + 1);
  }
}

template <typename T, typename Index>
int launch_pixel_lists(const SampleBackwardParams& p, const PixelLists<Accumulate<T>, Index>& lists,
                       cudaStream_t stream, const LaunchOptions& options) {
  const int64_t pixel_blocks = ceil_div(lists.pixels, kThreads);
  const dim3 by_pixel = grid_of(pixel_blocks * lists.batch, options);
  const dim3 by_tile = grid_of(lists.tiles * lists.batch, options);
  const int64_t rows = lists.batch * kDigits;
  auto* keys_kernel = list_keys_kernel<T, Index>;
  SCRN_LAUNCH(keys_kernel, by_pixel, kThreads, 0, stream, p, lists, pixel_blocks);
  int error = cudaGetLastError();
  for (int pass = 0; pass < lists.passes && error == 0; ++pass) {
    const int from = pass % 2, to = 1 - from;
    SCRN_LAUNCH(list_count_kernel<Index>, by_tile, kThreads, 0, stream, lists.keys[from],
                lists.histogram, lists.batch, lists.pixels, lists.tiles, pass);
    error = cudaGetLastError();
    if (error != 0) break;
    SCRN_LAUNCH(list_scan_kernel<Index>, grid_of(rows, options), kThreads, 0, stream,
                lists.histogram, lists.totals, rows, lists.tiles);
    error = cudaGetLastError();
    if (error != 0) break;
    const Index* order_in = pass > 0 ? lists.order[from] : nullptr;
    SCRN_LAUNCH(list_place_kernel<Index>, by_tile, kThreads, 0, stream, lists.keys[from], order_in,
                lists.keys[to], lists.order[to], lists.histogram, lists.totals, lists.batch,
                lists.pixels, lists.tiles, pass);
    error = cudaGetLastError();
  }
  if (error != 0) return error;
  const int64_t span_bytes = lists.batch * lists.cells * static_cast<int64_t>(sizeof(Span<Index>));
  error = launch_zero(lists.spans, span_bytes, stream, options);
  if (error != 0) return error;
  SCRN_LAUNCH(list_spans_kernel<Index>, by_pixel, kThreads, 0, stream, lists.sorted_keys(),
              lists.spans, lists.batch, lists.pixels, lists.cells, pixel_blocks);
  return cudaGetLastError();
}

}  // namespace scrn::srm::cuda
