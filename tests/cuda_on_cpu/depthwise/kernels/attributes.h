#pragma once

// Counts how often launchers set a kernel's attributes, which takes the driver a while.

#include <cuda_runtime_api.h>

namespace scrn_on_cpu {

inline int64_t attributes_set = 0;

inline cudaError_t counted_set(const void* kernel, cudaFuncAttribute attribute, int value) {
  ++attributes_set;
  return cudaFuncSetAttribute(kernel, attribute, value);
}

}  // namespace scrn_on_cpu

#define cudaFuncSetAttribute scrn_on_cpu::counted_set
