#pragma once

// Reads the kernels' parameters from what Python passes.

#include <cstdint>

#include "../../harness/arguments.h"
#include "srm/params.h"

namespace scrn_on_cpu {

inline scrn::srm::SampleShape shape(const Arguments& a) {
  scrn::srm::SampleShape shape;
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
    return resize ? scrn::srm::resize_ratio(in_size, out_size, align_corners)
                  : scrn::srm::identity_ratio();
  };
  shape.ratio_y = ratio(shape.in_h, shape.out_h);
  shape.ratio_x = ratio(shape.in_w, shape.out_w);
  shape.channels_last = a.integer("channels_last") != 0;
  shape.dtype = dtype(a, "dtype");
  return shape;
}

template <typename Params>
Params aggregate_params(const Arguments& a) {
  Params p;
  p.batch = a.integer("batch");
  p.height = small(a, "height");
  p.width = small(a, "width");
  p.offset_dtype = dtype(a, "offset_dtype");
  p.mask_dtype = dtype(a, "mask_dtype");
  p.aggregated_dtype = dtype(a, "dtype");
  p.mask_is_logits = a.integer("logits") != 0;
  p.offset = a.pointer<const void>("offset");
  p.mask = a.pointer<const void>("mask");
  return p;
}

inline scrn::srm::AggregateForwardParams aggregate_forward_params(const Arguments& a) {
  auto p = aggregate_params<scrn::srm::AggregateForwardParams>(a);
  p.aggregated = a.pointer<void>("aggregated");
  return p;
}

inline scrn::srm::AggregateBackwardParams aggregate_backward_params(const Arguments& a) {
  auto p = aggregate_params<scrn::srm::AggregateBackwardParams>(a);
  p.grad_aggregated = a.pointer<const void>("grad_aggregated");
  p.grad_offset = a.pointer<void>("grad_offset");
  p.grad_mask = a.pointer<void>("grad_mask");
  return p;
}

inline scrn::srm::SampleForwardParams forward_params(const Arguments& a) {
  scrn::srm::SampleForwardParams p;
  p.shape = shape(a);
  p.offset_dtype = dtype(a, "offset_dtype");
  p.mask_dtype = dtype(a, "mask_dtype");
  p.mask_is_logits = a.integer("logits") != 0;
  p.input = a.pointer<const void>("input");
  p.offset = a.pointer<const void>("offset");
  p.mask = a.pointer<const void>("mask");
  p.skip = a.pointer<const void>("skip");
  p.output = a.pointer<void>("output");
  p.aggregated = a.pointer<void>("aggregated");
  return p;
}

inline scrn::srm::SampleBackwardParams backward_params(const Arguments& a) {
  scrn::srm::SampleBackwardParams p;
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

}  // namespace scrn_on_cpu
