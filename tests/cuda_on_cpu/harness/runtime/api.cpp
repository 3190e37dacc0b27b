// The few functions of the CUDA runtime that launchers call.

#include <cuda_runtime_api.h>
#include <sys/mman.h>

#include <cstring>
#include <map>

#include "scheduler.h"

namespace cuda_on_cpu {
namespace {

cudaError_t last_error = cudaSuccess;
constexpr size_t kDefaultDynamicLimit = 48 << 10;

std::map<const void*, size_t>& dynamic_limits() {
  static std::map<const void*, size_t> instance;
  return instance;
}

}  // namespace

bool accept_launch(const void* kernel, dim3 grid, dim3 block, size_t dynamic_bytes) {
  const uint64_t threads = static_cast<uint64_t>(block.x) * block.y * block.z;
  const bool extents = grid.x >= 1 && grid.x <= 0x7fffffffu && grid.y >= 1 && grid.y <= 65535 &&
                       grid.z >= 1 && grid.z <= 65535 && threads >= 1 && block.x <= 1024 &&
                       block.y <= 1024 && block.z <= 64 && threads <= kMaxThreads;
  const auto raised = dynamic_limits().find(kernel);
  const size_t limit = raised == dynamic_limits().end() ? kDefaultDynamicLimit : raised->second;
  if (!extents) last_error = cudaErrorInvalidConfiguration;
  if (extents && dynamic_bytes > limit) last_error = cudaErrorInvalidValue;
  return extents && dynamic_bytes <= limit;
}

}  // namespace cuda_on_cpu

extern "C" {

cudaError_t cudaGetLastError() {
  const cudaError_t error = cuda_on_cpu::last_error;
  cuda_on_cpu::last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() { return cuda_on_cpu::last_error; }

cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t) {
  using namespace cuda_on_cpu;
  auto* begin = static_cast<std::byte*>(data);
  const Buffer* buffer = find_buffer(begin, begin + bytes);
  if (buffer == nullptr || !buffer->writable) {
    throw KernelFault("cudaMemsetAsync of " + std::to_string(bytes) +
                      " bytes: " + describe_address(begin + bytes, true));
  }
  // A sparse buffer stays sparse.
  constexpr size_t kLarge = size_t{1} << 30;
  if (value == 0 && bytes >= kLarge) {
    auto* first =
        reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(begin) + 4095) & ~4095ul);
    auto* last = reinterpret_cast<std::byte*>(reinterpret_cast<uintptr_t>(begin + bytes) & ~4095ul);
    madvise(first, static_cast<size_t>(last - first), MADV_DONTNEED);
    std::memset(begin, 0, static_cast<size_t>(first - begin));
    std::memset(last, 0, static_cast<size_t>(begin + bytes - last));
  } else {
    std::memset(data, value, bytes);
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
  using namespace cuda_on_cpu;
  auto* target = static_cast<std::byte*>(to);
  const auto* source = static_cast<const std::byte*>(from);
  const Buffer* buffer = find_buffer(target, target + bytes);
  if (buffer == nullptr || !buffer->writable || find_buffer(source, source + bytes) == nullptr) {
    throw KernelFault("cudaMemcpyAsync of " + std::to_string(bytes) +
                      " bytes: outside of the buffers");
  }
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

constexpr int kMostShared = 227 << 10;  // bytes of a block, if it asks

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || value > kMostShared) return cudaErrorInvalidValue;
  cuda_on_cpu::dynamic_limits()[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = kMostShared;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      return cudaSuccess;
    default:
      return cudaErrorInvalidValue;
  }
}

}  // extern "C"
