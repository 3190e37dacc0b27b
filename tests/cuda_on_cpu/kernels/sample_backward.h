#pragma once

// One feature type to a translation unit: these are the largest kernels.

#include "entries.h"
#include "srm/cuda/sample_backward.cuh"

namespace scrn_on_cpu {

inline scrn::SampleBackwardParams backward_params(const Arguments& a) {
  scrn::SampleBackwardParams p;
  p.shape = shape(a);
  p.offset_dtype = dtype(a, "offset_dtype");
  p.deterministic = a.integer("deterministic") != 0;
  p.input = a.pointer<const void>("input");
  p.offset = a.pointer<const void>("offset");
  p.grad_output = a.pointer<const void>("grad_output");
  p.grad_input = a.pointer<void>("grad_input");
  p.grad_offset = a.pointer<void>("grad_offset");
  p.workspace = a.pointer<void>("workspace");
  return p;
}

template <typename T>
int64_t backward(const Arguments& a) {
  return scrn::cuda::launch_sample_backward<T>(backward_params(a), nullptr, launch_options(a));
}

template <typename T>
int64_t backward_workspace(const Arguments& a) {
  return static_cast<int64_t>(
      scrn::cuda::sample_backward_workspace<T>(backward_params(a), launch_options(a)));
}

}  // namespace scrn_on_cpu
