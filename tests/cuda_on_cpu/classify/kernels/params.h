#pragma once

// Reads the kernels' parameters from what Python passes.

#include "../../harness/arguments.h"
#include "classify/params.h"

namespace scrn_on_cpu {

inline scrn::classify::ResizeShape shape(const Arguments& a) {
  scrn::classify::ResizeShape shape;
  shape.batch = a.integer("batch");
  shape.classes = a.integer("classes");
  shape.in_h = small(a, "in_h");
  shape.in_w = small(a, "in_w");
  shape.out_h = small(a, "out_h");
  shape.out_w = small(a, "out_w");
  shape.align_corners = a.integer("align_corners") != 0;
  shape.channels_last = a.integer("channels_last") != 0;
  shape.dtype = dtype(a, "dtype");
  return shape;
}

template <typename Params>
Params loss_params(const Arguments& a) {
  Params p;
  p.shape = shape(a);
  p.target_type = static_cast<scrn::classify::LabelType>(a.integer("target_type"));
  p.ignore_index = a.integer("ignore_index");
  p.label_smoothing = static_cast<double>(a.integer("smoothing_percent")) / 100;
  p.logits = a.pointer<const void>("logits");
  p.target = a.pointer<const void>("target");
  p.weight = a.pointer<const void>("weight");
  p.gradient = a.pointer<void>("gradient");
  return p;
}

inline scrn::classify::CrossEntropyParams cross_entropy_params(const Arguments& a) {
  auto p = loss_params<scrn::classify::CrossEntropyParams>(a);
  p.reduction = static_cast<scrn::classify::Reduction>(a.integer("reduction"));
  p.loss = a.pointer<void>("loss");
  p.statistics = a.pointer<scrn::classify::LossStatistics>("statistics");
  return p;
}

inline scrn::classify::CrossEntropyBackwardParams backward_params(const Arguments& a) {
  auto p = loss_params<scrn::classify::CrossEntropyBackwardParams>(a);
  p.grad_loss = a.pointer<const void>("grad_loss");
  return p;
}

inline scrn::classify::ScaleGradientParams scale_params(const Arguments& a) {
  scrn::classify::ScaleGradientParams p;
  p.count = a.integer("count");
  p.dtype = dtype(a, "dtype");
  p.reduction = static_cast<scrn::classify::Reduction>(a.integer("reduction"));
  p.grad_loss = a.pointer<const void>("grad_loss");
  p.statistics = a.pointer<const scrn::classify::LossStatistics>("statistics");
  p.gradient = a.pointer<const void>("gradient");
  p.scaled = a.pointer<void>("scaled");
  return p;
}

inline scrn::classify::ArgmaxParams argmax_params(const Arguments& a) {
  scrn::classify::ArgmaxParams p;
  p.shape = shape(a);
  p.label_type = static_cast<scrn::classify::LabelType>(a.integer("label_type"));
  p.logits = a.pointer<const void>("logits");
  p.labels = a.pointer<void>("labels");
  p.confidence = a.pointer<float>("confidence");
  return p;
}

inline scrn::classify::UpsampleParams upsample_params(const Arguments& a) {
  scrn::classify::UpsampleParams p;
  p.shape = shape(a);
  p.logits = a.pointer<const void>("logits");
  p.output = a.pointer<void>("output");
  return p;
}

}  // namespace scrn_on_cpu
