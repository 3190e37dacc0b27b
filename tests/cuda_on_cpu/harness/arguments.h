#pragma once

// Reads from what Python passes the parameters that every family's kernels have.

#include <cstdint>

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

}  // namespace scrn_on_cpu
