#pragma once

#include "arguments.h"
#include "common/cuda/launch.cuh"

namespace scrn_on_cpu {

// The choices that the launchers leave to tests.
inline scrn::cuda::LaunchOptions launch_options(const Arguments& a) {
  scrn::cuda::LaunchOptions options;
  options.index64 = a.integer("index64") != 0;
  if (a.integer("max_blocks") > 0) options.max_blocks = a.integer("max_blocks");
  return options;
}

}  // namespace scrn_on_cpu
