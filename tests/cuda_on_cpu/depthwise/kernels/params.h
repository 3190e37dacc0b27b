#pragma once

// Reads the kernels' parameters from what Python passes.

#include "../../harness/arguments.h"
#include "depthwise/params.h"

namespace scrn_on_cpu {

inline scrn::depthwise::UnitShape unit_shape(const Arguments& a) {
  using scrn::depthwise::Unit;
  scrn::depthwise::UnitShape s;
  s.batch = a.integer("batch");
  s.channels = a.integer("channels");
  s.height = small(a, "height");
  s.width = small(a, "width");
  s.channels_last = a.integer("channels_last") != 0;
  s.dtype = dtype(a, "dtype");
  s.weight_dtype = dtype(a, "weight_dtype");
  s.unit = static_cast<Unit>(a.integer("unit"));
  const int32_t sizes[scrn::depthwise::kStrips] = {small(a, "size_0"), small(a, "size_1"),
                                                   small(a, "size_2")};
  if (s.unit == Unit::kMultiScale) {
    for (int i = 0; i < scrn::depthwise::kStrips; ++i) s.strips[i] = sizes[i];
  } else if (s.unit == Unit::kLargeKernel) {
    s.dilation = sizes[0];
  } else {
    s.square = sizes[0];
  }
  return s;
}

inline scrn::depthwise::ForwardParams forward_params(const Arguments& a) {
  scrn::depthwise::ForwardParams p;
  p.shape = unit_shape(a);
  p.input = a.pointer<const void>("input");
  p.weights = a.pointer<const void>("weights");
  p.output = a.pointer<void>("output");
  return p;
}

inline scrn::depthwise::BackwardParams backward_params(const Arguments& a) {
  scrn::depthwise::BackwardParams p;
  p.shape = unit_shape(a);
  p.grad = a.pointer<const void>("grad");
  p.input = a.pointer<const void>("input");
  p.weights = a.pointer<const void>("weights");
  p.grad_input = a.pointer<void>("grad_input");
  p.grad_weights = a.pointer<void>("grad_weights");
  p.workspace = a.pointer<void>("workspace");
  return p;
}

}  // namespace scrn_on_cpu
