#pragma once

// Reads the kernels' parameters from what Python passes.

#include <cstdint>

#include "../runtime/entries.h"
#include "srm/cuda/common.cuh"
#include "srm/srm_params.h"

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

inline scrn::SampleShape shape(const Arguments& a) {
  scrn::SampleShape shape;
  shape.batch = a.integer("batch");
  shape.channels = a.integer("channels");
  shape.in_h = small(a, "in_h");
  shape.in_w = small(a, "in_w");
  shape.out_h = small(a, "out_h");
  shape.out_w = small(a, "out_w");
  shape.upsample = a.integer("upsample") != 0;
  const bool align_corners = a.integer("align_corners") != 0;
  const auto ratio = [&](int32_t in_size, int32_t out_size) {
    const bool resize = shape.upsample || shape.in_h != shape.out_h || shape.in_w != shape.out_w;
    return resize ? scrn::resize_ratio(in_size, out_size, align_corners) : scrn::identity_ratio();
  };
  shape.ratio_y = ratio(shape.in_h, shape.out_h);
  shape.ratio_x = ratio(shape.in_w, shape.out_w);
  shape.channels_last = a.integer("channels_last") != 0;
  shape.dtype = dtype(a, "dtype");
  return shape;
}

// Calls launch(T*) for the features' type.
template <typename Launch>
int64_t for_dtype(scrn::DType dtype, Launch launch) {
  switch (dtype) {
    case scrn::DType::kFloat:
      return launch(static_cast<float*>(nullptr));
    case scrn::DType::kDouble:
      return launch(static_cast<double*>(nullptr));
    case scrn::DType::kHalf:
      return launch(static_cast<__half*>(nullptr));
    default:
      return launch(static_cast<__nv_bfloat16*>(nullptr));
  }
}

}  // namespace scrn_on_cpu
