// Small kernels that prove what the harness finds: each is right, or wrong in one way that
// `mistake` chooses.

#include <cuda_runtime_api.h>

#include "../runtime/entries.h"

using cuda_on_cpu::Arguments;
using cuda_on_cpu::Register;

namespace {

constexpr int kThreads = 64;

// out[block] = sum of the block's 64 elements, by a tree in shared memory.
__global__ void block_sum(const float* in, float* out, int count, int mistake) {
  SCRN_SHARED(float, tree, [kThreads]);
  const int t = static_cast<int>(threadIdx.x);
  const int i = static_cast<int>(blockIdx.x) * kThreads + t;
  const int bound = mistake == 1 ? count + 1 : count;
  tree[t] = i < bound ? in[i] : 0.0f;
  if (mistake != 2) __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (t < half) tree[t] += tree[t + half];
    if (mistake == 3 && t >= half) return;
    if (mistake == 4 && t == 0) {
      __syncthreads();
    } else {
      __syncthreads();
    }
  }
  if (mistake == 5) tree[t + 1] = 0.0f;
  if (t == 0) out[mistake == 6 ? blockIdx.x + 1 : blockIdx.x] = tree[0];
}

// out[0] = sum of all elements; warps by shuffles, then atomically.
__global__ void warp_sum(const float* in, float* out, int count, int mistake) {
  SCRN_DYNAMIC_SHARED(float, sums);
  const int t = static_cast<int>(threadIdx.x);
  const int i = static_cast<int>(blockIdx.x * blockDim.x) + t;
  float value = i < count ? in[i] : 0.0f;
  const unsigned mask = mistake == 1 ? 0x0000ffffu : 0xffffffffu;
  if (mistake == 2 && t % 32 == 31) return;
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_down_sync(mask, value, static_cast<unsigned>(distance));
  }
  if (mistake == 3 && t % 2 == 1) value = __shfl_xor_sync(mask, value, 1);
  if (mistake == 4) value += __shfl_sync(t % 32 < 16 ? 0x0000ffffu : 0xffff0000u, value, 20);
  if (t % 32 == 0) sums[t / 32] = value;
  if (mistake == 5) {
    __syncwarp();
  } else {
    __syncthreads();
  }
  if (t == 0) {
    float sum = 0.0f;
    for (unsigned w = 0; w < blockDim.x / 32; ++w) sum += sums[w];
    if (mistake == 6) {
      out[0] += sum;
    } else {
      atomicAdd(out, sum);
    }
  }
}

// Each lane hands its value to the next one through shared memory.
__global__ void rotate(const int* in, int* out, int mistake) {
  SCRN_SHARED(int, slot, [32]);
  const int lane = static_cast<int>(threadIdx.x);
  slot[lane] = in[blockIdx.x * 32 + threadIdx.x];
  if (mistake != 1) __syncwarp();
  out[blockIdx.x * 32 + threadIdx.x] = slot[(lane + 1) % 32];
  if (mistake == 2) __syncwarp(lane < 16 ? 0x0000ffffu : 0xffffffffu);
  if (mistake == 3) {
    while (atomicAdd(slot, 0) != -1) {
    }
  }
  if (mistake == 4) reinterpret_cast<int*>(const_cast<int*>(in))[lane] = 0;
  if (mistake == 5) out[lane] = in[lane] / (mistake - 5);
  if (mistake == 6) reinterpret_cast<volatile int4*>(slot)->x = reinterpret_cast<int4*>(out + 1)->x;
}

// Every collective that the vocabulary has, one result a row.
__global__ void collectives(const int* in, int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  const int v = in[lane];
  const unsigned all = 0xffffffffu;
  int row = 0;
  const auto put = [&](int value) { out[32 * row++ + lane] = value; };
  put(__shfl_sync(all, v, lane / 2));
  put(__shfl_sync(all, v, 3, 8));
  put(__shfl_up_sync(all, v, 3));
  put(__shfl_up_sync(all, v, 3, 8));
  put(__shfl_down_sync(all, v, 5));
  put(__shfl_down_sync(all, v, 5, 16));
  put(__shfl_xor_sync(all, v, 9));
  put(static_cast<int>(__shfl_xor_sync(all, static_cast<double>(v), 1, 2)));
  put(static_cast<int>(__ballot_sync(all, v > 16)));
  put(__any_sync(all, v == 31));
  put(__all_sync(all, v >= 1));
  put(static_cast<int>(__match_any_sync(all, v % 3)));
  put(__reduce_add_sync(all, v));
  put(__reduce_max_sync(all, -v));
  put(__syncthreads_count(v % 2));
  put(__syncthreads_or(v == 7));
  put(__syncthreads_and(v != 7));
}

__global__ void read_in_front(const float* in, float* out) {
  const int lane = static_cast<int>(threadIdx.x);
  out[lane] = in[lane - 1];
}

__global__ void half_sum(const __half* in, __half2* out, int count) {
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    atomicAdd(out, __halves2half2(in[i], __float2half_rn(1.0f)));
  }
}

const Register kBlockSum("block_sum", [](const Arguments& a) -> int64_t {
  const int count = static_cast<int>(a.integer("count"));
  const unsigned blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  SCRN_LAUNCH(block_sum, blocks, kThreads, 0, nullptr, a.pointer<float>("input"),
              a.pointer<float>("output"), count, static_cast<int>(a.integer("mistake")));
  return cudaGetLastError();
});

const Register kWarpSum("warp_sum", [](const Arguments& a) -> int64_t {
  const int count = static_cast<int>(a.integer("count"));
  const int threads = static_cast<int>(a.integer("threads"));
  const unsigned blocks = static_cast<unsigned>((count + threads - 1) / threads);
  SCRN_LAUNCH(warp_sum, blocks, static_cast<unsigned>(threads), sizeof(float) * (threads / 32),
              nullptr, a.pointer<float>("input"), a.pointer<float>("output"), count,
              static_cast<int>(a.integer("mistake")));
  return cudaGetLastError();
});

const Register kRotate("rotate", [](const Arguments& a) -> int64_t {
  SCRN_LAUNCH(rotate, static_cast<unsigned>(a.integer("blocks")), 32, 0, nullptr,
              a.pointer<int>("input"), a.pointer<int>("output"),
              static_cast<int>(a.integer("mistake")));
  return cudaGetLastError();
});

const Register kCollectives("collectives", [](const Arguments& a) -> int64_t {
  SCRN_LAUNCH(collectives, 1, 32, 0, nullptr, a.pointer<int>("input"), a.pointer<int>("output"));
  return cudaGetLastError();
});

const Register kReadInFront("read_in_front", [](const Arguments& a) -> int64_t {
  SCRN_LAUNCH(read_in_front, 1, 32, 0, nullptr, a.pointer<const float>("input"),
              a.pointer<float>("output"));
  return cudaGetLastError();
});

const Register kHalfSum("half_sum", [](const Arguments& a) -> int64_t {
  SCRN_LAUNCH(half_sum, 1, 64, 0, nullptr, a.pointer<__half>("input"), a.pointer<__half2>("output"),
              static_cast<int>(a.integer("count")));
  return cudaGetLastError();
});

}  // namespace
