#pragma once

// Plain data that crosses from the torch bindings to the kernels: no torch headers.

#include <cstdint>

#include "../common/params.h"

namespace scrn::convolution {

constexpr int kTile = 4;           // rows and columns of results that are computed together
constexpr int kPatch = kTile + 2;  // rows and columns that they read
constexpr int kPoints = kPatch * kPatch;
constexpr int kPanel = 16;  // results whose weights are neighbours in memory

struct ForwardParams {
  int64_t batch = 0, channels = 0, features = 0, height = 0, width = 0;
  const float* input = nullptr;   // [batch, height, width, channels]
  const float* packed = nullptr;  // [kPoints, ceil(features / kPanel), channels, kPanel]
  const float* bias = nullptr;    // [features]; null: none
  float* output = nullptr;        // [batch, height, width, features]
  float low = 0, high = 0;        // bounds of the results
};

}  // namespace scrn::convolution
