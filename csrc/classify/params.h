#pragma once

// Plain data that crosses from the torch bindings to the kernels: no torch, no CUDA headers.

#include <cstddef>
#include <cstdint>

#include "../common/params.h"

namespace scrn::classify {

enum class Reduction : int32_t { kNone = 0, kMean = 1, kSum = 2 };
enum class LabelType : int32_t { kUint8 = 0, kInt32 = 1, kInt64 = 2 };

// Bilinear interpolation of [B,K,in_h,in_w] to [B,K,out_h,out_w].
struct ResizeShape {
  int64_t batch = 0, classes = 0;
  int32_t in_h = 0, in_w = 0, out_h = 0, out_w = 0;
  bool align_corners = false;
  bool channels_last = false;  // of the logits and their gradient; dense in that layout
  DType dtype{};               // of the logits and their gradient
};

// What a gradient kept for a later scaling is divided by: in float16 the sum over a node's pixels
// would overflow where the target is much larger than the logits, and small class weights would
// cost digits.
struct LossStatistics {
  double weight_sum = 0;      // of the valid pixels
  double gradient_scale = 1;  // a power of two; 0: no pixel is valid, and there is no gradient
};

struct CrossEntropyParams {
  ResizeShape shape;
  LabelType target_type{};
  Reduction reduction{};
  int64_t ignore_index = -100;
  double label_smoothing = 0;
  const void* logits = nullptr;
  const void* target = nullptr;          // [B,out_h,out_w], contiguous
  const void* weight = nullptr;          // [K], accumulate type; null: all ones
  void* loss = nullptr;                  // one number, or [B,out_h,out_w]; accumulate type
  LossStatistics* statistics = nullptr;  // of mean and sum
  void* gradient = nullptr;              // of mean and sum, as the logits; null: not wanted
};

// The gradient of the loss without a reduction.
struct CrossEntropyBackwardParams {
  ResizeShape shape;
  LabelType target_type{};
  int64_t ignore_index = -100;
  double label_smoothing = 0;
  const void* logits = nullptr;
  const void* target = nullptr;
  const void* weight = nullptr;
  const void* grad_loss = nullptr;  // [B,out_h,out_w], contiguous, accumulate type
  void* gradient = nullptr;         // as the logits
};

struct UpsampleParams {
  ResizeShape shape;
  const void* logits = nullptr;
  void* output = nullptr;  // [B,K,out_h,out_w], as the logits
};

struct ScaleGradientParams {
  int64_t count = 0;
  DType dtype{};
  Reduction reduction{};
  const void* grad_loss = nullptr;  // one number, accumulate type
  const LossStatistics* statistics = nullptr;
  const void* gradient = nullptr;  // as CrossEntropyParams left it
  void* scaled = nullptr;
};

struct ArgmaxParams {
  ResizeShape shape;
  LabelType label_type{};  // kUint8 or kInt64
  const void* logits = nullptr;
  void* labels = nullptr;       // [B,out_h,out_w]
  float* confidence = nullptr;  // [B,out_h,out_w]; null: not wanted
};

}  // namespace scrn::classify
