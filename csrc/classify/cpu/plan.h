#pragma once

// What the dispatching code hands to the kernels of an instruction set: plain data, no code.

#include "../cpu.h"
#include "../params.h"

namespace scrn::classify::cpu {

// Rows of nodes may be read this many elements past their last: two AVX-512 registers.
constexpr int kPadding = 32;
// Pixels of a row, and rows, that a tile takes together at most.
constexpr int kSlots = 4, kTileRows = 8;
// From so many classes on strips, rows and pixels are as few as there can be: the scratch memory of
// a task, which should stay in the L2 cache, is at most 1 MiB up to some 1100 classes.
constexpr int64_t kManyClasses = 640;
// With fewer classes whole_ratio.h keeps the values of a tile's pixels for the gradients, and asks
// for the next row of nodes ahead. With more, these would push out of the caches what is needed
// now.
constexpr int64_t kFewClasses = 64;

// Outputs of one dimension by the cell that they fall into: the space between two neighbouring
// inputs, for the cells -1 .. in_size - 1. Before the first input and behind the last one its
// value continues: both ends of the cells -1 and in_size - 1 are one node.
struct Axis {
  int32_t in_size = 0, out_size = 0;
  int32_t slots = 0;  // most outputs of one cell
  int32_t ratio = 0;  // outputs per input where they lie as for a whole number of it
  const int32_t* first =
      nullptr;  // [in_size + 2]: of cell c the outputs first[c + 1] .. first[c + 2] - 1
  const void* share = nullptr;  // [out_size]: weight of the right end; accumulate type
  // The same by slot and cell, [slots][pitch], 0 where there is no output.
  const void* slot_share = nullptr;
  int64_t pitch = 0;
};

// A task owns the nodes of a band of rows and of a strip of columns in one image. It computes the
// cells between them, and those before its first row and column again, whose pixels count for
// another task.
struct Tiling {
  int32_t band = 0, strip = 0;
  int64_t bands = 0, strips = 0;
};

struct TaskResult {
  double loss = 0, weight = 0;
  bool valid = false;        // whether it has seen a pixel with a class
  int64_t wrong_label = -1;  // its place in the target
};

struct LossPlan {
  ResizeShape shape;
  Axis y, x;
  Tiling tiling;
  LabelType target_type{};
  int64_t ignore_index = 0;
  const void* logits = nullptr;
  const void* target = nullptr;
  // By label + 1, where label -1 is a pixel without a class: the factors of softmax and of the
  // one-hot vector in a pixel's gradient. Accumulate type, [K + 1].
  const void* soft = nullptr;
  const void* hard = nullptr;
  const void* uniform = nullptr;  // [K]: what label smoothing takes from every class, or null
  int32_t tile_rows = 0;          // that whole_ratio.h takes together
  bool weighted = false;
  bool geometric = false;           // by whole_ratio.h
  const void* weight = nullptr;     // [K], accumulate type, or null
  const void* grad_loss = nullptr;  // per pixel, or null
  void* loss = nullptr;             // per pixel, or null
  void* gradient = nullptr;         // or null
  double gradient_factor = 1;
  TaskResult* results = nullptr;  // by task
};

struct ArgmaxPlan {
  ArgmaxParams params;
  Axis y, x;
  Tiling tiling;
};

// Outputs of one dimension by the inputs that they lie between: one and the same where the other
// has no share, so that what is not finite in it does not count.
struct Neighbours {
  const int32_t* before = nullptr;  // [out_size]
  const int32_t* after = nullptr;   // [out_size]: `before` or the next one
  const void* share = nullptr;      // [out_size]: of `after`; accumulate type
};

// A task writes a band of rows of a strip of columns, of one image in channels_last, else of one
// class of it.
struct UpsamplePlan {
  UpsampleParams params;
  Neighbours y, x;
  int32_t band = 0, strip = 0;
  int64_t bands = 0, strips = 0;
};

struct ScalePlan {
  ScaleGradientParams params;
  double factor = 0;
};

// Each function runs tasks [begin, end).
struct Kernels {
  void (*cross_entropy)(const LossPlan&, int64_t begin, int64_t end);
  void (*argmax)(const ArgmaxPlan&, int64_t begin, int64_t end);
  void (*scale)(const ScalePlan&, int64_t begin, int64_t end);
  void (*upsample)(const UpsamplePlan&, int64_t begin, int64_t end);
};

const Kernels& kernels_portable();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();

}  // namespace scrn::classify::cpu
