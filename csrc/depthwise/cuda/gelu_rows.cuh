#pragma once

// A depthwise 3x3 convolution and GELU where memory decides: 16 bytes of float32 in an access, of
// half types 8. A thread goes down four columns, or four channels of a column, and holds the sums
// of the three rows that the current one adds to; what its neighbours read as well is in the
// caches.

#include "normal.cuh"

namespace scrn::depthwise::cuda {

inline constexpr int kRowVector = 4, kRowThreads = 128;
inline constexpr int kRowsOfThread = 16;

struct GeluRowsParams {
  int64_t total;             // threads with work
  int64_t vectors, columns;  // of channels (1 in NCHW) in a pixel, and of columns in a row
  int64_t bands, channels;
  int32_t height, width;
  DType weight_dtype;
  const void* input;
  const void* weights;
  void* output;
};

// What a row has for a thread's outputs: the columns x - 1 .. x + 4, or the channels' columns
// x - 1 .. x + 1.
template <typename T, bool kLast>
struct Row {
  Packed<T, kRowVector> centre, left, right;  // NCHW: one element of left and right
};

template <typename T, bool kLast>
SCRN_DEVICE Row<T, kLast> load_row(const T* at, int64_t step, bool has, bool has_left,
                                   bool has_right) {
  Row<T, kLast> row{packed_zeros<T, kRowVector>(), packed_zeros<T, kRowVector>(),
                    packed_zeros<T, kRowVector>()};
  if (!has) return row;
  row.centre = load_packed<kRowVector>(at);
  if constexpr (kLast) {
    if (has_left) row.left = load_packed<kRowVector>(at - step);
    if (has_right) row.right = load_packed<kRowVector>(at + step);
  } else {
    T edge[kRowVector] = {narrow<T>(0.0f), narrow<T>(0.0f), narrow<T>(0.0f), narrow<T>(0.0f)};
    if (has_left) edge[0] = at[-1];
    row.left = bits<Packed<T, kRowVector>>(edge);
    edge[0] = has_right ? at[kRowVector] : narrow<T>(0.0f);
    row.right = bits<Packed<T, kRowVector>>(edge);
  }
  return row;
}

template <typename T, bool kLast>
__global__ void __launch_bounds__(kRowThreads, 4) gelu_rows_kernel(const GeluRowsParams p) {
  constexpr int V = kRowVector, kChannels = kLast ? V : 1;
  for (int64_t thread = static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
       thread < p.total; thread += static_cast<int64_t>(gridDim.x) * kRowThreads) {
    int64_t rest, vector, column, band, image, channel;
    split(thread, p.vectors, rest, vector);
    split(rest, p.columns, rest, column);
    split(rest, p.bands, image, band);
    const int64_t pixels = int64_t{p.height} * p.width;
    int64_t start, step, line;  // of the image's or the plane's first element
    if constexpr (kLast) {
      channel = vector * V;
      start = image * p.channels * pixels + column * p.channels + channel;
      step = p.channels;
      line = p.width * p.channels;
    } else {
      split(image, p.channels, rest, channel);
      column *= V;
      start = image * pixels + column;
      step = 1;
      line = p.width;
    }
    const bool has_left = column > 0, has_right = column + (kLast ? 1 : V) < p.width;
    float weight[9][kChannels], bias[kChannels];
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      const int64_t at = (channel + c) * 10;
#pragma unroll
      for (int tap = 0; tap < 9; ++tap) {
        weight[tap][c] = load_any<WeightsOf<float>, float>(p.weights, p.weight_dtype, at + tap);
      }
      bias[c] = load_any<WeightsOf<float>, float>(p.weights, p.weight_dtype, at + 9);
    }
    const int64_t y0 = band * kRowsOfThread, end = min_of(y0 + kRowsOfThread, p.height);
    const T* source = static_cast<const T*>(p.input) + start + (y0 - 1) * line;
    T* target = static_cast<T*>(p.output) + start + y0 * line;
    // Of the rows y - 1 and y; row y + 1 starts with its bias.
    float above[V], middle[V];
#pragma unroll
    for (int e = 0; e < V; ++e) above[e] = middle[e] = bias[kLast ? e : 0];
    Row<T, kLast> next = load_row<T, kLast>(source, step, y0 > 0, has_left, has_right);
    for (int64_t y = y0 - 1; y <= end; ++y) {
      const Row<T, kLast> row = next;
      source += line;
      next = load_row<T, kLast>(source, step, y < end && y + 1 < p.height, has_left, has_right);
      float value[3][V];
      unpack<T>(row.left, value[0]);
      unpack<T>(row.centre, value[1]);
      unpack<T>(row.right, value[2]);
      float below[V];
#pragma unroll
      for (int e = 0; e < V; ++e) {
        const int c = kLast ? e : 0;
        const float left = kLast ? value[0][e] : (e == 0 ? value[0][0] : value[1][(e + V - 1) % V]);
        const float right =
            kLast ? value[2][e] : (e == V - 1 ? value[2][0] : value[1][(e + 1) % V]);
        const float centre = value[1][e];
        // The order of the taps is that of the tiles, whose bits these are.
        below[e] = bias[c];
        float* const sum[3] = {below + e, middle + e, above + e};
#pragma unroll
        for (int k = 0; k < 3; ++k) {
          *sum[k] += weight[3 * k][c] * left;
          *sum[k] += weight[3 * k + 1][c] * centre;
          *sum[k] += weight[3 * k + 2][c] * right;
        }
      }
      if (y > y0) {
#pragma unroll
        for (int e = 0; e < V; ++e) above[e] = gelu(above[e]);
        store_packed<V>(target, pack<T>(above));
        target += line;
      }
#pragma unroll
      for (int e = 0; e < V; ++e) {
        above[e] = middle[e];
        middle[e] = below[e];
      }
    }
  }
}

}  // namespace scrn::depthwise::cuda
