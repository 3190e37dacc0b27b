#include <limits>

#include "../../../cuda_on_cpu/harness/arguments.h"
#include "../../harness/module.h"
#include "convolution/cpu.h"

namespace {

using namespace scrn_on_cpu;
using cpu_kernels::threads;

const Register kForward("forward", [](const Arguments& a) -> int64_t {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  scrn::convolution::ForwardParams p;
  p.batch = a.integer("batch");
  p.channels = a.integer("channels");
  p.features = a.integer("features");
  p.height = a.integer("height");
  p.width = a.integer("width");
  p.input = a.pointer<const float>("input");
  p.packed = a.pointer<const float>("packed");
  p.bias = a.pointer<const float>("bias");
  p.output = a.pointer<float>("output");
  p.low = a.integer("bounded") ? -0.5f : -kInfinity;
  p.high = a.integer("bounded") ? 1.0f : kInfinity;
  scrn::convolution::cpu::forward(p, threads());
  return 0;
});

}  // namespace
