#pragma once

// What the dispatching code hands to the kernels of an instruction set: plain data, no code.

#include <cstddef>
#include <cstdint>

#include "../params.h"

namespace scrn::depthwise::cpu {

// Rows of results that a task computes at a time.
constexpr int kStep = 8;
// Columns are computed in blocks of up to this many; rows are padded to whole multiples of 4.
constexpr int kBlockColumns = 12;

// Phi - 1/2 for x >= 0 by pieces of this width around its multiples, each a polynomial in the
// distance from its middle, to 5e-9 before its factors are rounded; what lies beyond the last but
// one is 1/2.
constexpr int kGeluPieces = 32, kGeluDegree = 4;
constexpr double kGeluPiece = 0.1875;
// [kGeluDegree + 1][kGeluPieces]: of every power its factors.
const float* gelu_table();

struct ForwardPlan {
  ForwardParams params;
  int32_t tile_width = 0;  // but perhaps of the last one
  int64_t tiles = 0;       // side by side in an image
  int32_t group = 0;       // channels of a task, but perhaps of the last one
  bool streams = false;    // the output is written past the caches
  const float* gelu_table = nullptr;
};

struct BackwardPlan {
  BackwardParams params;
  int32_t tile_width = 0;
  int64_t tiles = 0;
  bool streams = false;         // grad_input is written past the caches
  int64_t padded_channels = 0;  // a multiple of every register's width
  // In the caller's workspace: double [B * tiles, padded_channels / lanes, taps, lanes], with the
  // lanes of the instruction set: what each tile adds to the gradients of the weights.
  double* partial = nullptr;
};

// Each function runs tasks [begin, end). A task of `forward` is a tile's group of channels, of
// `backward` a tile's register of channels, of `reduce` a register of channels.
struct Kernels {
  void (*forward)(const ForwardPlan&, int64_t begin, int64_t end);
  void (*backward)(const BackwardPlan&, int64_t begin, int64_t end);
  void (*reduce)(const BackwardPlan&, int64_t begin, int64_t end);
  int32_t register_bytes;
};

const Kernels& kernels_portable();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();

}  // namespace scrn::depthwise::cpu
