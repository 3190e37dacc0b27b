#pragma once

// Plain data that crosses from the torch bindings to the kernels: no torch, no CUDA headers.

#include <cstddef>
#include <cstdint>

#include "../common/params.h"

namespace scrn::depthwise {

constexpr int kLocal = 5;        // edge of the convolution in front of strips and dilated kernel
constexpr int kDilated = 7;      // edge of the dilated kernel
constexpr int kStrips = 3;       // pairs of a row and a column
constexpr int kMaxStrip = 31;    // length of a strip
constexpr int kMaxDilation = 8;  // of the dilated kernel
constexpr int kMaxSquare = 7;    // edge of the convolution in front of the GELU

enum class Unit : int32_t {
  kMultiScale = 0,   // 5x5, plus three strip pairs of it
  kLargeKernel = 1,  // 5x5, then dilated 7x7
  kGelu = 2,         // k x k, then GELU
};

struct UnitShape {
  int64_t batch = 0, channels = 0;
  int32_t height = 0, width = 0;
  bool channels_last = false;  // of every [B,C,H,W] buffer; dense in that layout
  DType dtype{};               // of every [B,C,H,W] buffer
  DType weight_dtype{};        // of weights and their gradient
  Unit unit{};
  int32_t strips[kStrips] = {0, 0, 0};  // kMultiScale: their lengths, odd
  int32_t dilation = 1;                 // kLargeKernel
  int32_t square = 0;                   // kGelu: k, odd
};

// Columns of `weights`: a channel's weights and biases, one convolution after the other.
static inline int32_t taps_of(const UnitShape& s) {
  if (s.unit == Unit::kGelu) return s.square * s.square + 1;
  if (s.unit == Unit::kLargeKernel) return kLocal * kLocal + 1 + kDilated * kDilated + 1;
  int32_t taps = kLocal * kLocal + 1;
  for (const int32_t n : s.strips) taps += 2 * (n + 1);
  return taps;
}

struct ForwardParams {
  UnitShape shape;
  const void* input = nullptr;    // [B,C,H,W]
  const void* weights = nullptr;  // [C,taps], contiguous
  void* output = nullptr;         // [B,C,H,W]; kGelu: may be `input`
};

struct BackwardParams {
  UnitShape shape;
  const void* grad = nullptr;     // [B,C,H,W], of the output
  const void* input = nullptr;    // [B,C,H,W]
  const void* weights = nullptr;  // [C,taps], contiguous
  void* grad_input = nullptr;     // [B,C,H,W]; null: not wanted
  void* grad_weights = nullptr;   // [C,taps]; null: not wanted
  void* workspace = nullptr;      // as many bytes as the backend's backward_workspace_bytes says
};

}  // namespace scrn::depthwise
