#pragma once

// Reads from what Python passes the parameters that every family's kernels have.

#include <cstdint>

#include "common/cuda/launch.cuh"
#include "common/params.h"
#include "runtime/entries.h"

namespace scrn_on_cpu {

using cuda_on_cpu::Arguments;
using cuda_on_cpu::Register;

inline scrn::DType dtype(const Arguments& a, const char* name) {
  return static_cast<scrn::DType>(a.integer(name));
}

inline int32_t small(const Arguments& a, const char* name) {
  return static_cast<int32_t>(a.integer(name));
}

// The choices that the launchers leave to tests.
inline scrn::cuda::LaunchOptions launch_options(const Arguments& a) {
  scrn::cuda::LaunchOptions options;
  options.index64 = a.integer("index64") != 0;
  if (a.integer("max_blocks") > 0) options.max_blocks = a.integer("max_blocks");
  return options;
}

}  // namespace scrn_on_cpu
