#pragma once

// Plain data that crosses from the torch bindings to the kernels: no torch, no CUDA headers.

#include <cstddef>
#include <cstdint>

#include "../common/params.h"
#include "taps.h"

namespace scrn::srm {

// Eq. 3. offset [B,2,H,W], mask [B,9,H,W], contiguous; types independent of each other.
// `aggregated` has `aggregated_dtype`: kDouble if offset or mask (or the features of the op
// that this is part of) are double, else kFloat.
struct AggregateForwardParams {
  int64_t batch = 0;
  int32_t height = 0, width = 0;
  DType offset_dtype{}, mask_dtype{}, aggregated_dtype{};
  bool mask_is_logits = false;
  const void* offset = nullptr;
  const void* mask = nullptr;
  void* aggregated = nullptr;  // [B,2,H,W]
};

struct AggregateBackwardParams {
  int64_t batch = 0;
  int32_t height = 0, width = 0;
  DType offset_dtype{}, mask_dtype{}, aggregated_dtype{};
  bool mask_is_logits = false;
  const void* offset = nullptr;
  const void* mask = nullptr;
  const void* grad_aggregated = nullptr;  // [B,2,H,W], aggregated_dtype
  void* grad_offset = nullptr;            // [B,2,H,W], offset_dtype; null: not wanted
  void* grad_mask = nullptr;              // [B,9,H,W], mask_dtype; null: not wanted
};

// The map that is sampled is `input` itself (upsample = false), or its bilinear upsampling to
// the output's size, which is never formed (upsample = true).
struct SampleShape {
  int64_t batch = 0, channels = 0;
  int32_t in_h = 0, in_w = 0, out_h = 0, out_w = 0;
  Ratio ratio_y{1, 0, 1}, ratio_x{1, 0, 1};  // output index to input coordinate
  bool upsample = false;
  bool channels_last = false;  // of every [B,C,*,*] buffer; dense in that layout
  DType dtype{};               // of every [B,C,*,*] buffer
};

// Eq. 4, with Eq. 3 in front of it where mask is not null.
struct SampleForwardParams {
  SampleShape shape;
  DType offset_dtype{}, mask_dtype{};
  bool mask_is_logits = false;
  const void* input = nullptr;   // [B,C,in_h,in_w]
  const void* offset = nullptr;  // [B,2,out_h,out_w], contiguous
  const void* mask = nullptr;    // [B,9,out_h,out_w], contiguous; null: offset is used as it is
  const void* skip = nullptr;    // [B,C,out_h,out_w]; null: nothing is added
  void* output = nullptr;        // [B,C,out_h,out_w]
  void* aggregated = nullptr;    // [B,2,out_h,out_w], accumulate_type(dtype); with mask only
};

// The gradients of Eq. 4 alone; Eq. 3's follow from grad_offset by aggregate_backward.
struct SampleBackwardParams {
  SampleShape shape;
  DType offset_dtype{};
  bool deterministic = false;
  const void* input = nullptr;
  const void* offset = nullptr;       // [B,2,out_h,out_w]: where the forward sampled
  const void* grad_output = nullptr;  // [B,C,out_h,out_w]
  void* grad_input = nullptr;         // [B,C,in_h,in_w], dtype; null: not wanted
  void* grad_offset = nullptr;        // [B,2,out_h,out_w], offset_dtype; null: not wanted
  void* workspace = nullptr;          // as many bytes as the backend's *_workspace_bytes says
};

}  // namespace scrn::srm
