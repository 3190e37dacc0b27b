#pragma once

// The rows of nodes of one task: read, made relative to the largest class of each node, and the
// gradient's rows written.

#include "math.h"
#include "plan.h"

namespace scrn::classify::cpu::SCRN_CPU_ISA {
namespace {

// The part of an image that a task owns, and how its rows lie in scratch memory: local column 0
// is the node before the first one that the task owns, or, at the border, that one again.
struct Part {
  int64_t image = 0;
  int32_t row0 = 0, row1 = 0, column0 = 0, column1 = 0;  // nodes
  int32_t cells = 0;                                     // columns of cells: column1 - column0 + 1
  int64_t stride = 0;                                    // elements between classes of a row

  int32_t cell0() const { return column0 - 1; }
  bool first_column_counts() const { return column0 == 0; }
  bool row_counts(int32_t cell_row) const { return cell_row >= row0 || row0 == 0; }
};

template <typename A>
SCRN_INLINE int64_t row_stride(int32_t cells) {
  return (cells + kLanes<A> - 1) / kLanes<A> * kLanes<A> + kLanes<A>;
}

template <typename A>
Part part_of(const ResizeShape& shape, const Tiling& tiling, int64_t task) {
  const int64_t strip = task % tiling.strips, band = task / tiling.strips % tiling.bands;
  Part part;
  part.image = task / tiling.strips / tiling.bands;
  part.row0 = static_cast<int32_t>(band * tiling.band);
  part.column0 = static_cast<int32_t>(strip * tiling.strip);
  part.row1 = shape.in_h - part.row0 < tiling.band ? shape.in_h : part.row0 + tiling.band;
  part.column1 =
      shape.in_w - part.column0 < tiling.strip ? shape.in_w : part.column0 + tiling.strip;
  part.cells = part.column1 - part.column0 + 1;
  part.stride = row_stride<A>(part.cells);
  return part;
}

// Hands out aligned pieces of memory; with no memory it only adds up.
class Scratch {
 public:
  explicit Scratch(void* memory) : memory_(static_cast<char*>(memory)) {}
  template <typename T>
  T* take(int64_t count) {
    char* piece = memory_ + used_;
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return memory_ == nullptr ? nullptr : reinterpret_cast<T*>(piece);
  }
  int64_t used() const { return used_; }

 private:
  char* memory_;
  int64_t used_ = 0;
};

// target[i] = source[i * step], widened.
template <typename T, typename A>
SCRN_INLINE void read_run(const T* source, int64_t step, int32_t count, A* target) {
  int32_t i = 0;
  if constexpr (sizeof(A) == sizeof(float)) {
    if (step == 1) {
      for (; i + kLanes<A> <= count; i += kLanes<A>) store(target + i, load(source + i));
    }
  }
  for (; i < count; ++i) target[i] = widen(source[i * step]);
}

// The nodes of one row, [K][stride].
template <typename T, typename A>
void read_row(const ResizeShape& shape, const void* logits, const Part& part, int32_t row,
              A* target) {
  const int64_t K = shape.classes, width = shape.in_w, plane = width * shape.in_h;
  const T* image = static_cast<const T*>(logits) + part.image * K * plane;
  const int32_t begin = part.cell0() < 0 ? 0 : part.cell0();
  const int32_t end = part.column1 + 1 > shape.in_w ? shape.in_w : part.column1 + 1;
  const int32_t count = end - begin;
  A* const first = target + (begin - part.cell0());
  if (shape.channels_last) {
    const T* source = image + (row * width + begin) * K;
    int32_t i = 0;
    // Blocks of nodes, so that the lines of both sides stay in the cache.
    for (; i < count; i += kLanes<A>) {
      const int32_t block = count - i < kLanes<A> ? count - i : kLanes<A>;
      for (int64_t k = 0; k < K; ++k) {
        read_run(source + i * K + k, K, block, first + k * part.stride + i);
      }
    }
  } else {
    for (int64_t k = 0; k < K; ++k) {
      read_run(image + k * plane + row * width + begin, 1, count, first + k * part.stride);
    }
  }
  for (int64_t k = 0; k < K; ++k) {
    A* const r = target + k * part.stride;
    if (part.cell0() < 0) r[0] = r[1];
    for (int64_t i = end - part.cell0(); i < part.stride; ++i) r[i] = r[end - part.cell0() - 1];
  }
}

template <typename A>
SCRN_INLINE void read_row_as(const ResizeShape& shape, const void* logits, const Part& part,
                             int32_t row, A* target) {
  if constexpr (sizeof(A) == sizeof(double)) {
    read_row<double>(shape, logits, part, row, target);
  } else if (shape.dtype == DType::kFloat) {
    read_row<float>(shape, logits, part, row, target);
  } else if (shape.dtype == DType::kHalf) {
    read_row<Half>(shape, logits, part, row, target);
  } else {
    read_row<BFloat16>(shape, logits, part, row, target);
  }
}

// x - max over the classes: at most 0 at the nodes, and so between them.
template <typename A>
void make_relative(int64_t classes, const Part& part, A* rows) {
  for (int64_t i = 0; i < part.stride; i += kLanes<A>) {
    Value<A> largest = load(rows + i);
    for (int64_t k = 1; k < classes; ++k)
      largest = larger(load(rows + k * part.stride + i), largest);
    for (int64_t k = 0; k < classes; ++k) {
      A* const p = rows + k * part.stride + i;
      store(p, larger(broadcast<A>(kLowest<A>), load(p) - largest));
    }
  }
}

template <typename T, typename A>
void write_row(const LossPlan& plan, const Part& part, int32_t row, const A* rows, const A* cover) {
  const ResizeShape& shape = plan.shape;
  const int64_t K = shape.classes, width = shape.in_w, plane = width * shape.in_h;
  T* image = static_cast<T*>(plan.gradient) + part.image * K * plane;
  const int32_t count = part.column1 - part.column0;
  const A factor = static_cast<A>(plan.gradient_factor);
  const A* uniform = static_cast<const A*>(plan.uniform);
  const int64_t step = shape.channels_last ? K : 1;
  // Blocks of nodes, as in read_row.
  const int32_t block = shape.channels_last ? kLanes<A> : count;
  for (int32_t begin = 0; begin < count; begin += block) {
    const int32_t end = count - begin < block ? count : begin + block;
    for (int64_t k = 0; k < K; ++k) {
      const A* const g = rows + k * part.stride + 1;
      T* const out = shape.channels_last ? image + (row * width + part.column0) * K + k
                                         : image + k * plane + row * width + part.column0;
      if (uniform != nullptr) {
        for (int32_t i = begin; i < end; ++i) {
          narrow((g[i] - uniform[k] * cover[i + 1]) * factor, out[i * step]);
        }
        continue;
      }
      int32_t i = begin;
      if constexpr (sizeof(A) == sizeof(float)) {
        if (step == 1) {
          for (; i + kLanes<A> <= end; i += kLanes<A>) store(out + i, load(g + i) * factor);
        }
      }
      for (; i < end; ++i) narrow(g[i] * factor, out[i * step]);
    }
  }
}

// What the virtual nodes at the borders got belongs to the nodes beside them.
template <typename A>
SCRN_INLINE void fold_borders(const ResizeShape& shape, const Part& part, A* row) {
  if (part.column0 == 0) row[1] += row[0];
  if (part.column1 == shape.in_w) row[part.cells - 1] += row[part.cells];
}

template <typename A>
void finish_row(const LossPlan& plan, const Part& part, int32_t row, A* rows, A* cover) {
  for (int64_t k = 0; k < plan.shape.classes; ++k) {
    fold_borders(plan.shape, part, rows + k * part.stride);
  }
  if (plan.uniform != nullptr) fold_borders(plan.shape, part, cover);
  if constexpr (sizeof(A) == sizeof(double)) {
    write_row<double>(plan, part, row, rows, cover);
  } else if (plan.shape.dtype == DType::kFloat) {
    write_row<float>(plan, part, row, rows, cover);
  } else if (plan.shape.dtype == DType::kHalf) {
    write_row<Half>(plan, part, row, rows, cover);
  } else {
    write_row<BFloat16>(plan, part, row, rows, cover);
  }
}

}  // namespace
}  // namespace scrn::classify::cpu::SCRN_CPU_ISA
