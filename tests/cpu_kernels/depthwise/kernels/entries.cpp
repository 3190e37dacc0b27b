#include "../../../cuda_on_cpu/harness/arguments.h"
#include "../../harness/module.h"
#include "depthwise/cpu.h"

namespace {

using namespace scrn_on_cpu;
using namespace scrn::depthwise;
using cpu_kernels::threads;

UnitShape shape(const Arguments& a) {
  UnitShape s;
  s.batch = a.integer("batch");
  s.channels = a.integer("channels");
  s.height = small(a, "height");
  s.width = small(a, "width");
  s.channels_last = a.integer("channels_last") != 0;
  s.dtype = dtype(a, "dtype");
  s.weight_dtype = dtype(a, "weight_dtype");
  s.unit = static_cast<Unit>(a.integer("unit"));
  const int32_t sizes[kStrips] = {small(a, "size_0"), small(a, "size_1"), small(a, "size_2")};
  if (s.unit == Unit::kMultiScale) {
    for (int i = 0; i < kStrips; ++i) s.strips[i] = sizes[i];
  } else if (s.unit == Unit::kLargeKernel) {
    s.dilation = sizes[0];
  } else {
    s.square = sizes[0];
  }
  return s;
}

BackwardParams backward_params(const Arguments& a) {
  BackwardParams p;
  p.shape = shape(a);
  p.grad = a.pointer<const void>("grad");
  p.input = a.pointer<const void>("input");
  p.weights = a.pointer<const void>("weights");
  p.grad_input = a.pointer<void>("grad_input");
  p.grad_weights = a.pointer<void>("grad_weights");
  p.workspace = a.pointer<void>("workspace");
  return p;
}

const Register kForward("forward", [](const Arguments& a) -> int64_t {
  ForwardParams p;
  p.shape = shape(a);
  p.input = a.pointer<const void>("input");
  p.weights = a.pointer<const void>("weights");
  p.output = a.pointer<void>("output");
  cpu::forward(p, threads());
  return 0;
});

const Register kWorkspace("backward_workspace", [](const Arguments& a) -> int64_t {
  return static_cast<int64_t>(cpu::backward_workspace_bytes(backward_params(a)));
});

const Register kBackward("backward", [](const Arguments& a) -> int64_t {
  cpu::backward(backward_params(a), threads());
  return 0;
});

}  // namespace
