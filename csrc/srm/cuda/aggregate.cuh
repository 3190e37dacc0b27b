#pragma once

// Eq. 3 by itself, and its gradients.

#include "common.cuh"

namespace scrn::srm::cuda {

template <typename A, typename Index>
__global__ void __launch_bounds__(kThreads)
    aggregate_forward_kernel(const AggregateForwardParams p, int64_t blocks_per_image,
                             int64_t blocks) {
  const Index pixels = static_cast<Index>(p.height) * p.width;
  for (int64_t work = blockIdx.x; work < blocks; work += gridDim.x) {
    int64_t image, block;
    split(work, blocks_per_image, image, block);
    const int64_t flat = block * kThreads + threadIdx.x;
    if (flat >= pixels) continue;
    const Index pixel = static_cast<Index>(flat);
    const int y = static_cast<int>(pixel / p.width);
    const int x = static_cast<int>(pixel - static_cast<Index>(y) * p.width);
    A mask[9];
    load_mask<AnyType>(p.mask, p.mask_dtype, p.mask_is_logits, image * 9 * pixels, pixel, pixels,
                       mask);
    A* out = static_cast<A*>(p.aggregated) + image * 2 * pixels;
#pragma unroll
    for (int dim = 0; dim < 2; ++dim) {
      out[dim * pixels + pixel] = weigh_neighbours<AnyType, Index>(
          p.offset, p.offset_dtype, (image * 2 + dim) * pixels, y, x, p.height, p.width, mask);
    }
  }
}

// The tile of one block, with a border of one pixel from which the gather of grad_offset reads.
inline constexpr int kGradTileX = 32, kGradTileY = 4;
inline constexpr int kGradHaloX = kGradTileX + 2;
inline constexpr int kGradHalo = kGradHaloX * (kGradTileY + 2);

template <typename A, typename Index>
__global__ void __launch_bounds__(kThreads)
    aggregate_backward_kernel(const AggregateBackwardParams p, int32_t tiles_x,
                              int64_t tiles_per_image, int64_t tiles) {
  // The softmax of a neighbour's logits is computed once, not by each pixel that looks at it.
  SCRN_SHARED(A, mask, [9][kGradHalo]);
  SCRN_SHARED(A, offset, [2][kGradHalo]);
  SCRN_SHARED(A, grad, [2][kGradHalo]);
  const Index pixels = static_cast<Index>(p.height) * p.width;
  for (int64_t work = blockIdx.x; work < tiles; work += gridDim.x) {
    int64_t image, tile, tile_y, tile_x;
    split(work, tiles_per_image, image, tile);
    split(tile, tiles_x, tile_y, tile_x);
    const int y0 = static_cast<int>(tile_y) * kGradTileY;
    const int x0 = static_cast<int>(tile_x) * kGradTileX;
    const A* grad_image = static_cast<const A*>(p.grad_aggregated) + image * 2 * pixels;

    for (int i = threadIdx.x; i < kGradHalo; i += kThreads) {
      const int y = y0 + i / kGradHaloX - 1, x = x0 + i % kGradHaloX - 1;
      A weights[9] = {A(0), A(0), A(0), A(0), A(0), A(0), A(0), A(0), A(0)};
      A around[2] = {A(0), A(0)}, above[2] = {A(0), A(0)};
      if (y >= 0 && y < p.height && x >= 0 && x < p.width) {
        const Index pixel = static_cast<Index>(y) * p.width + x;
        load_mask<AnyType>(p.mask, p.mask_dtype, p.mask_is_logits, image * 9 * pixels, pixel,
                           pixels, weights);
#pragma unroll
        for (int dim = 0; dim < 2; ++dim) {
          around[dim] =
              load_any<AnyType, A>(p.offset, p.offset_dtype, (image * 2 + dim) * pixels + pixel);
          above[dim] = grad_image[dim * pixels + pixel];
        }
      }
#pragma unroll
      for (int k = 0; k < 9; ++k) mask[k][i] = weights[k];
#pragma unroll
      for (int dim = 0; dim < 2; ++dim) {
        offset[dim][i] = around[dim];
        grad[dim][i] = above[dim];
      }
    }
    __syncthreads();

    const int row = threadIdx.x / kGradTileX, column = threadIdx.x % kGradTileX;
    const int y = y0 + row, x = x0 + column;
    if (y < p.height && x < p.width) {
      const Index pixel = static_cast<Index>(y) * p.width + x;
      const int here = (row + 1) * kGradHaloX + column + 1;
      if (p.grad_mask != nullptr) {
        A value[9];
        A mean = A(0);
#pragma unroll
        for (int k = 0; k < 9; ++k) {
          const int there = here + (k / 3 - 1) * kGradHaloX + k % 3 - 1;
          value[k] = grad[0][here] * offset[0][there] + grad[1][here] * offset[1][there];
          mean += mask[k][here] * value[k];
        }
#pragma unroll
        for (int k = 0; k < 9; ++k) {
          const A slope = p.mask_is_logits ? mask[k][here] * (value[k] - mean) : value[k];
          store_any<AnyType>(p.grad_mask, p.mask_dtype, (image * 9 + k) * pixels + pixel, slope);
        }
      }
      if (p.grad_offset != nullptr) {
        A sum[2] = {A(0), A(0)};
#pragma unroll
        for (int k = 0; k < 9; ++k) {
          // The pixel whose neighbour k is this one.
          const int there = here - (k / 3 - 1) * kGradHaloX - (k % 3 - 1);
#pragma unroll
          for (int dim = 0; dim < 2; ++dim) sum[dim] += mask[k][there] * grad[dim][there];
        }
#pragma unroll
        for (int dim = 0; dim < 2; ++dim) {
          store_any<AnyType>(p.grad_offset, p.offset_dtype, (image * 2 + dim) * pixels + pixel,
                             sum[dim]);
        }
      }
    }
    __syncthreads();
  }
}

template <typename A>
int launch_aggregate_forward(const AggregateForwardParams& params, cudaStream_t stream,
                             const LaunchOptions& options = {}) {
  const int64_t pixels = static_cast<int64_t>(params.height) * params.width;
  const int64_t blocks_per_image = ceil_div(pixels, kThreads);
  const int64_t blocks = blocks_per_image * params.batch;
  if (blocks == 0) return 0;
  const dim3 grid = grid_of(blocks, options);
  if (options.index64 || !fits_index32(9 * pixels)) {
    auto* kernel = aggregate_forward_kernel<A, int64_t>;
    SCRN_LAUNCH(kernel, grid, kThreads, 0, stream, params, blocks_per_image, blocks);
  } else {
    auto* kernel = aggregate_forward_kernel<A, int32_t>;
    SCRN_LAUNCH(kernel, grid, kThreads, 0, stream, params, blocks_per_image, blocks);
  }
  return cudaGetLastError();
}

template <typename A>
int launch_aggregate_backward(const AggregateBackwardParams& params, cudaStream_t stream,
                              const LaunchOptions& options = {}) {
  if (params.grad_offset == nullptr && params.grad_mask == nullptr) return 0;
  const int64_t pixels = static_cast<int64_t>(params.height) * params.width;
  const int32_t tiles_x = static_cast<int32_t>(ceil_div(params.width, kGradTileX));
  const int64_t tiles_per_image = tiles_x * ceil_div(params.height, kGradTileY);
  const int64_t tiles = tiles_per_image * params.batch;
  if (tiles == 0) return 0;
  const dim3 grid = grid_of(tiles, options);
  if (options.index64 || !fits_index32(9 * pixels)) {
    auto* kernel = aggregate_backward_kernel<A, int64_t>;
    SCRN_LAUNCH(kernel, grid, kThreads, 0, stream, params, tiles_x, tiles_per_image, tiles);
  } else {
    auto* kernel = aggregate_backward_kernel<A, int32_t>;
    SCRN_LAUNCH(kernel, grid, kThreads, 0, stream, params, tiles_x, tiles_per_image, tiles);
  }
  return cudaGetLastError();
}

}  // namespace scrn::srm::cuda
