#pragma once

// What a loss keeps while it is computed. A pixel's sum is needed again for its gradient: where
// the pixels of the whole batch would take more than the logits do, spans of it are done one after
// the other.

#include "common.cuh"

namespace scrn::classify::cuda {

// The fewest rows of nodes of a span.
inline constexpr int kBand = 16;

struct LossOptions : LaunchOptions {
  int64_t buffer_bytes = INT64_C(4) << 20;  // that pixels may take even of the smallest logits
};

// A launch's tables and results. The factors by class: of softmax and of the one-hot vector in a
// pixel's gradient, and what label smoothing takes of every class, its sum behind the last one.
template <typename A>
struct Workspace {
  A *soft, *hard, *uniform;    // [K], [K], [K + 1]
  A *below, *right;            // [out_h], [out_w]: the weights of a cell's lower and right ends
  LossStatistics* statistics;  // gradient_scale is read, weight_sum left out
  double* parts;               // [works][kParts]
  void* maxima;                // [B,in_h,in_w]: of the classes, as the logits
  // By pixel of a span, from its pixel0 on. The reciprocal of the sum over the classes of exp(z -
  // largest), negative where `largest`, else 0, is kept beside it.
  A *reciprocals, *largest;
};

// Loss, weight and number of the valid pixels of a warp's cells.
inline constexpr int kParts = 3;

// Whole images, or rows of nodes of one image.
struct Span {
  int64_t image = 0, images = 0;
  int32_t row0 = 0, row1 = 0;
  int64_t pixel0 = 0;  // of the batch's, the first that they reach
};

// How a batch is cut: so many images at once, or so many rows of nodes of one.
struct Cut {
  int64_t images = 0;
  int32_t rows = 0;
  int64_t pixels = 0;  // of the largest span
};

inline Cut cut_into(const ResizeShape& s, int64_t most_pixels) {
  const int64_t image = int64_t{s.out_h} * s.out_w, most = most_pixels / image;
  if (most >= 1 || s.in_h <= kBand || s.batch == 0) {
    const int64_t pieces = ceil_div(s.batch, std::max<int64_t>(most, 1));
    const int64_t images = pieces == 0 ? 0 : ceil_div(s.batch, pieces);
    return {images, s.in_h, images * image};
  }
  const Axis axis = axis_of(s.in_h, s.out_h, s.align_corners);
  const int64_t bands = ceil_div(s.in_h, kBand);
  for (int64_t pieces = std::min(ceil_div(image, most_pixels), bands);; ++pieces) {
    const int32_t rows = static_cast<int32_t>(ceil_div(bands, pieces)) * kBand;
    int64_t height = 0;
    for (int64_t row = 0; row < s.in_h; row += rows) {
      const int32_t y0 = first_output(axis, static_cast<int32_t>(row) - 1);
      const int32_t y1 = first_output(axis, static_cast<int32_t>(row) + rows);
      height = std::max<int64_t>(height, y1 - y0);
    }
    if (height * s.out_w <= most_pixels || rows == kBand) return {1, rows, height * s.out_w};
  }
}

template <typename Body>
void for_spans(const ResizeShape& s, const Cut& cut, const Body& body) {
  const Axis axis = axis_of(s.in_h, s.out_h, s.align_corners);
  for (int64_t image = 0; image < s.batch; image += cut.images) {
    const int64_t images = std::min(cut.images, s.batch - image);
    for (int64_t row = 0; row < s.in_h; row += cut.rows) {
      const int32_t row0 = static_cast<int32_t>(row);
      const int32_t row1 = static_cast<int32_t>(std::min<int64_t>(row + cut.rows, s.in_h));
      const int64_t line = image * s.out_h + first_output(axis, row0 - 1);
      body(Span{image, images, row0, row1, line * s.out_w});
    }
  }
}

inline Span everything(const ResizeShape& s) { return {0, s.batch, 0, s.in_h, 0}; }

// With no memory it only adds up. Without a gradient no pixels are kept, and all is one span.
template <typename T, typename A>
Workspace<A> lay_out(const ResizeShape& s, bool keeps, const LossOptions& options, void* memory,
                     size_t* bytes, Cut* cut) {
  char* const base = static_cast<char*>(memory);
  size_t used = 0;
  const auto take = [&](size_t count) {
    char* const piece = base == nullptr ? nullptr : base + used;
    used += (count + 15) / 16 * 16;
    return piece;
  };
  const size_t classes = static_cast<size_t>(s.classes);
  const int64_t nodes = s.batch * s.in_h * s.in_w;
  Workspace<A> w{};
  w.soft = reinterpret_cast<A*>(take(sizeof(A) * classes));
  w.hard = reinterpret_cast<A*>(take(sizeof(A) * classes));
  w.uniform = reinterpret_cast<A*>(take(sizeof(A) * (classes + 1)));
  w.below = reinterpret_cast<A*>(take(sizeof(A) * s.out_h));
  w.right = reinterpret_cast<A*>(take(sizeof(A) * s.out_w));
  w.statistics = reinterpret_cast<LossStatistics*>(take(sizeof(LossStatistics)));
  w.parts = reinterpret_cast<double*>(take(kParts * sizeof(double) * work_of(s).total));
  w.maxima = take(sizeof(T) * nodes);
  if (keeps) {
    const int64_t logits = static_cast<int64_t>(sizeof(T)) * nodes * s.classes;
    const int64_t left = logits + logits / 10 - static_cast<int64_t>(used);
    const int64_t most = std::max(options.buffer_bytes, left) / int64_t{2 * sizeof(A)};
    *cut = cut_into(s, std::max<int64_t>(most, 1));
    w.reciprocals = reinterpret_cast<A*>(take(sizeof(A) * cut->pixels));
    w.largest = reinterpret_cast<A*>(take(sizeof(A) * cut->pixels));
  }
  if (bytes != nullptr) *bytes = used;
  return w;
}

}  // namespace scrn::classify::cuda
