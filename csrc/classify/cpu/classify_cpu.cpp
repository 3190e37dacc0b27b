// Cuts the operators into tasks.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../../common/cpu/isa.h"
#include "../cpu.h"
#include "plan.h"

namespace scrn::classify::cpu {
namespace {

using scrn::cpu::run;

constexpr int64_t kScaled = 1 << 15;           // elements of a task of scale, as in kernels.h
constexpr int64_t kScratchBytes = 512 * 1024;  // of a task, roughly: it should stay in the L2 cache
constexpr int32_t kLeastBand = 16, kMostBand = 32;
constexpr int64_t kTasks = 64;
constexpr int64_t kUpsampled = 1 << 15;  // elements that a task of upsampling writes, roughly

const Kernels& current_kernels() { return SCRN_KERNELS_IN_USE(kernels); }

// The cell that an output falls into, from -1 to in_size - 1, and the share of its right end. By
// integers, so that a position is rounded once, at any size.
template <typename A>
std::pair<int64_t, A> place_of(int64_t i, int32_t in_size, int32_t out_size, bool align_corners) {
  const int64_t divisor = align_corners ? std::max(out_size - 1, 1) : 2 * int64_t{out_size};
  const int64_t numerator = align_corners ? i * (in_size - 1) : (2 * i + 1) * in_size - out_size;
  if (numerator < 0) return {-1, A(0)};
  const int64_t cell = numerator / divisor;
  if (cell >= in_size - 1) return {cell, A(0)};
  return {cell, static_cast<A>(static_cast<double>(numerator - cell * divisor) /
                               static_cast<double>(divisor))};
}

template <typename A>
class AxisTables {
 public:
  AxisTables(int32_t in_size, int32_t out_size, bool align_corners) {
    axis_.in_size = in_size;
    axis_.out_size = out_size;
    share_.resize(int64_t{out_size} + kPadding);
    // Whole registers are read from any cell on.
    first_.assign(in_size + 2 + kPadding, 0);
    for (int64_t i = 0; i < out_size; ++i) {
      const auto [cell, share] = place_of<A>(i, in_size, out_size, align_corners);
      share_[i] = share;
      ++first_[cell + 2];
    }
    for (int32_t c = 0; c <= in_size; ++c) {
      axis_.slots = std::max(axis_.slots, first_[c + 1]);
      first_[c + 1] += first_[c];
    }
    const bool whole = !align_corners && out_size % in_size == 0;
    axis_.ratio = whole ? out_size / in_size : 0;
  }

  // Also by slot, for the dimension along which lanes lie.
  void tabulate_slots() {
    axis_.pitch = axis_.in_size + 1 + kPadding;
    slot_share_.assign(axis_.slots * axis_.pitch, A(0));
    for (int64_t c = 0; c <= axis_.in_size; ++c) {
      for (int32_t i = first_[c]; i < first_[c + 1]; ++i) {
        slot_share_[(i - first_[c]) * axis_.pitch + c] = share_[i];
      }
    }
  }

  Axis axis() const {
    Axis axis = axis_;
    axis.first = first_.data();
    axis.share = share_.data();
    axis.slot_share = slot_share_.data();
    return axis;
  }

 private:
  Axis axis_;
  std::vector<int32_t> first_;
  std::vector<A> share_, slot_share_;
};

template <typename A>
class NeighbourTables {
 public:
  NeighbourTables(int32_t in_size, int32_t out_size, bool align_corners) {
    const int64_t length = int64_t{out_size} + kPadding;
    before_.resize(length);
    after_.resize(length);
    share_.resize(length);
    for (int64_t i = 0; i < out_size; ++i) {
      const auto [cell, share] = place_of<A>(i, in_size, out_size, align_corners);
      before_[i] = static_cast<int32_t>(std::max<int64_t>(cell, 0));
      after_[i] = share == 0 ? before_[i] : before_[i] + 1;
      share_[i] = share == 0 ? A(0.5) : share;
    }
  }
  Neighbours neighbours() const { return {before_.data(), after_.data(), share_.data()}; }

 private:
  std::vector<int32_t> before_, after_;
  std::vector<A> share_;
};

// Depends on the shape alone: the number of threads must not change the order of a sum.
Tiling tile(int64_t images, int64_t classes, int32_t rows, int32_t columns, int64_t element) {
  const int64_t column_bytes = 6 * classes * element;
  // The cells of 15 and of 31 columns fill registers; rows of labels count where there are few
  // classes.
  const int64_t fit = std::min<int64_t>(kScratchBytes / column_bytes, 1023);
  const int64_t most = classes >= kManyClasses ? 15 : fit < 48 ? 31 : fit;
  Tiling tiling;
  tiling.strips = ceil_div(columns, most);
  tiling.strip = static_cast<int32_t>(ceil_div(columns, tiling.strips));
  tiling.strips = ceil_div(columns, tiling.strip);
  tiling.band = static_cast<int32_t>(std::min<int64_t>(
      kMostBand, std::max<int64_t>(kLeastBand, images * rows * tiling.strips / kTasks)));
  tiling.bands = ceil_div(rows, tiling.band);
  return tiling;
}

[[noreturn]] void refuse_label(const LossPlan& plan, int64_t at) {
  const ResizeShape& s = plan.shape;
  int64_t label = 0;
  if (plan.target_type == LabelType::kUint8) {
    label = static_cast<const uint8_t*>(plan.target)[at];
  } else if (plan.target_type == LabelType::kInt32) {
    label = static_cast<const int32_t*>(plan.target)[at];
  } else {
    label = static_cast<const int64_t*>(plan.target)[at];
  }
  const int64_t x = at % s.out_w, y = at / s.out_w % s.out_h, image = at / s.out_w / s.out_h;
  throw std::runtime_error("target: expected labels from 0 to " + std::to_string(s.classes - 1) +
                           " or ignore_index=" + std::to_string(plan.ignore_index) + ", got " +
                           std::to_string(label) + " at [" + std::to_string(image) + ", " +
                           std::to_string(y) + ", " + std::to_string(x) + "]");
}

// The factors by label, from label -1 on, and what smoothing takes of every class.
template <typename A>
class Factors {
 public:
  Factors(int64_t classes, const A* weight, double smoothing)
      : soft_(classes + 1), hard_(classes + 1), uniform_(smoothing > 0 ? classes : 0) {
    double total = 0;
    const auto of = [&](int64_t k) { return weight == nullptr ? 1.0 : double{weight[k]}; };
    for (int64_t k = 0; k < classes; ++k) total += of(k);
    for (int64_t k = 0; k < classes; ++k) {
      const double hard = (1 - smoothing) * of(k), share = smoothing / double(classes);
      soft_[k + 1] = static_cast<A>(hard + share * total);
      hard_[k + 1] = static_cast<A>(hard);
      if (smoothing > 0) uniform_[k] = static_cast<A>(share * of(k));
      largest_ = std::max(largest_, std::abs(of(k)));
    }
  }
  void fill(LossPlan& plan) const {
    plan.soft = soft_.data();
    plan.hard = hard_.data();
    plan.uniform = uniform_.empty() ? nullptr : uniform_.data();
  }
  double largest() const { return largest_; }

 private:
  std::vector<A> soft_, hard_, uniform_;
  double largest_ = 0;
};

template <typename A, typename Params>
LossPlan common_plan(const Params& params) {
  LossPlan plan;
  plan.shape = params.shape;
  plan.target_type = params.target_type;
  plan.ignore_index = params.ignore_index;
  plan.logits = params.logits;
  plan.target = params.target;
  plan.weight = params.weight;
  plan.gradient = params.gradient;
  plan.tiling = tile(params.shape.batch, params.shape.classes, params.shape.in_h, params.shape.in_w,
                     sizeof(A));
  return plan;
}

template <typename A>
void run_loss(LossPlan& plan, const Threads& threads, std::vector<TaskResult>& results) {
  const ResizeShape& s = plan.shape;
  if (s.classes == 1 && plan.gradient != nullptr) {
    // The softmax of one class is 1, whatever the logits are; sums would leave their rounding.
    std::memset(plan.gradient, 0, size_of(s.dtype) * s.batch * s.in_h * s.in_w);
    plan.gradient = nullptr;
  }
  const Kernels& kernels = current_kernels();
  AxisTables<A> y(s.in_h, s.out_h, s.align_corners), x(s.in_w, s.out_w, s.align_corners);
  x.tabulate_slots();
  plan.y = y.axis();
  plan.x = x.axis();
  const int32_t ratio = plan.x.ratio;
  plan.geometric = sizeof(A) == sizeof(float) && plan.loss == nullptr &&
                   plan.grad_loss == nullptr &&
                   (ratio == 2 || ratio == 3 || ratio == 4 || ratio == 8);
  // Exponentials of two tiles of 16 cells: a quarter of a MiB.
  const int64_t rows = (INT64_C(1) << 18) / (2 * 16 * int64_t{sizeof(A)} * s.classes);
  plan.tile_rows = static_cast<int32_t>(
      std::max<int64_t>(std::min<int64_t>({rows, plan.y.slots, kTileRows}), 1));
  plan.weighted = plan.weight != nullptr;
  results.resize(s.batch * plan.tiling.bands * plan.tiling.strips);
  plan.results = results.data();
  run(threads, static_cast<int64_t>(results.size()),
      [&](int64_t begin, int64_t end) { kernels.cross_entropy(plan, begin, end); });
  int64_t wrong = -1;
  for (const TaskResult& result : results) {
    if (result.wrong_label >= 0 && (wrong < 0 || result.wrong_label < wrong)) {
      wrong = result.wrong_label;
    }
  }
  if (wrong >= 0) refuse_label(plan, wrong);
}

template <typename A>
void cross_entropy_as(const CrossEntropyParams& params, const Threads& threads) {
  LossPlan plan = common_plan<A>(params);
  const ResizeShape& s = params.shape;
  const Factors<A> factors(s.classes, static_cast<const A*>(params.weight), params.label_smoothing);
  factors.fill(plan);
  std::vector<TaskResult> results;
  if (params.reduction == Reduction::kNone) {
    plan.loss = params.loss;
    plan.gradient = nullptr;
    run_loss<A>(plan, threads, results);
    return;
  }
  LossStatistics statistics;
  if (s.dtype == DType::kHalf) {
    const double most = std::max(1.0, double(s.out_h) / s.in_h) *
                        std::max(1.0, double(s.out_w) / s.in_w) * factors.largest();
    // Also of weights that are all far below 1: the type has few numbers that small.
    if (most > 0) {
      statistics.gradient_scale =
          std::clamp(std::exp2(std::ceil(std::log2(most))), 0x1p-120, 0x1p120);
    }
  }
  plan.gradient_factor = 1 / statistics.gradient_scale;
  run_loss<A>(plan, threads, results);
  double loss = 0;
  bool valid = false;
  for (const TaskResult& result : results) {
    loss += result.loss;
    statistics.weight_sum += result.weight;
    valid |= result.valid;
  }
  if (!valid) statistics.gradient_scale = 0;
  if (params.reduction == Reduction::kMean) loss /= statistics.weight_sum;
  *static_cast<A*>(params.loss) = static_cast<A>(loss);
  *params.statistics = statistics;
}

template <typename A>
void cross_entropy_backward_as(const CrossEntropyBackwardParams& params, const Threads& threads) {
  LossPlan plan = common_plan<A>(params);
  const Factors<A> factors(params.shape.classes, static_cast<const A*>(params.weight),
                           params.label_smoothing);
  factors.fill(plan);
  plan.grad_loss = params.grad_loss;
  std::vector<TaskResult> results;
  run_loss<A>(plan, threads, results);
}

template <typename A>
void argmax_as(const ArgmaxParams& params, const Threads& threads) {
  const Kernels& kernels = current_kernels();
  const ResizeShape& s = params.shape;
  AxisTables<A> y(s.in_h, s.out_h, s.align_corners), x(s.in_w, s.out_w, s.align_corners);
  x.tabulate_slots();
  ArgmaxPlan plan;
  plan.params = params;
  plan.y = y.axis();
  plan.x = x.axis();
  plan.tiling = tile(s.batch, s.classes, s.in_h + 1, s.in_w + 1, sizeof(A));
  run(threads, s.batch * plan.tiling.bands * plan.tiling.strips,
      [&](int64_t begin, int64_t end) { kernels.argmax(plan, begin, end); });
}

template <typename A>
void upsample_as(const UpsampleParams& params, const Threads& threads) {
  const Kernels& kernels = current_kernels();
  const ResizeShape& s = params.shape;
  const NeighbourTables<A> y(s.in_h, s.out_h, s.align_corners), x(s.in_w, s.out_w, s.align_corners);
  UpsamplePlan plan;
  plan.params = params;
  plan.y = y.neighbours();
  plan.x = x.neighbours();
  const int64_t together = s.channels_last ? s.classes : 1;  // numbers of a task's pixel
  const int64_t fit = kUpsampled / (together * std::max(s.in_w / s.out_w, 1));
  plan.strip = static_cast<int32_t>(std::clamp<int64_t>(fit, 1, s.out_w));
  plan.strips = ceil_div(s.out_w, plan.strip);
  plan.band =
      static_cast<int32_t>(std::clamp<int64_t>(kUpsampled / (plan.strip * together), 1, s.out_h));
  plan.bands = ceil_div(s.out_h, plan.band);
  run(threads, s.batch * (s.classes / together) * plan.bands * plan.strips,
      [&](int64_t begin, int64_t end) { kernels.upsample(plan, begin, end); });
}

}  // namespace

void cross_entropy(const CrossEntropyParams& params, const Threads& threads) {
  if (params.shape.dtype == DType::kDouble) {
    cross_entropy_as<double>(params, threads);
  } else {
    cross_entropy_as<float>(params, threads);
  }
}

void cross_entropy_backward(const CrossEntropyBackwardParams& params, const Threads& threads) {
  if (params.shape.dtype == DType::kDouble) {
    cross_entropy_backward_as<double>(params, threads);
  } else {
    cross_entropy_backward_as<float>(params, threads);
  }
}

void scale_gradient(const ScaleGradientParams& params, const Threads& threads) {
  const Kernels& kernels = current_kernels();
  ScalePlan plan;
  plan.params = params;
  const double grad = params.dtype == DType::kDouble
                          ? *static_cast<const double*>(params.grad_loss)
                          : double{*static_cast<const float*>(params.grad_loss)};
  const bool mean = params.reduction == Reduction::kMean;
  const double divisor = mean ? params.statistics->weight_sum : 1;
  const double scale = params.statistics->gradient_scale;
  // The mean over no pixel has no slope, as torch has it; that over weights of zero is NaN.
  plan.factor = scale == 0 ? 0 : grad * scale / divisor;
  run(threads, ceil_div(params.count, kScaled),
      [&](int64_t begin, int64_t end) { kernels.scale(plan, begin, end); });
}

void argmax(const ArgmaxParams& params, const Threads& threads) {
  if (params.shape.dtype == DType::kDouble) {
    argmax_as<double>(params, threads);
  } else {
    argmax_as<float>(params, threads);
  }
}

void upsample(const UpsampleParams& params, const Threads& threads) {
  if (params.shape.dtype == DType::kDouble) {
    upsample_as<double>(params, threads);
  } else {
    upsample_as<float>(params, threads);
  }
}

}  // namespace scrn::classify::cpu
