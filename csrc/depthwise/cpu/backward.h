#pragma once

// The backward of every unit. With g the gradient of the output, and every map zero outside the
// image:
//   strips:   u_i = column_i^T g, dl = g + sum of row_i^T u_i;
//   dilated:  dl = dilated^T g;
//   GELU:     dl = g * gelu'(convolution + bias);
//   input:    local^T dl.
// The gradient of a weight is the sum over the pixels of what its convolution got times what it
// returned. Everything but input and g is computed again. A task is a register of channels of a
// tile, and leaves what its own pixels add to the weights' gradients in the workspace.

#include "forward.h"
#include "weight_gradients.h"

namespace scrn::depthwise::cpu::SCRN_CPU_ISA {
namespace {

// The rows of a tile from the gradient of its output to that of its input.
template <typename S, typename A>
class BackwardTile {
 public:
  BackwardTile(const BackwardPlan& plan, const Tile& tile, double* partial)
      : plan_(plan), s_(plan.params.shape), tile_(tile), layout_(s_), partial_(partial) {
    const int radius = layout_.edge / 2;
    reach_ = s_.unit == Unit::kMultiScale    ? layout_.longest
             : s_.unit == Unit::kLargeKernel ? layout_.reach
                                             : 0;
    taps_ = taps_of(s_);
    columns_ = whole_blocks(tile.width);
    local_grad_ = {nullptr, kStep + 2 * radius, whole_blocks(columns_ + 2 * radius), -radius};
    grad_ = {nullptr, kStep + 2 * reach_, whole_blocks(local_grad_.columns + 2 * reach_),
             -radius - reach_};
    total_ = {nullptr, 1, columns_, 0};
    next_grad_ = -reach_;
    if (s_.unit == Unit::kMultiScale) {
      strips_.shape(1, columns_, /*kept=*/radius);
      for (int i = 0; i < kStrips; ++i) {
        const int r = layout_.radius[i];
        between_[i] = {nullptr, kStep, whole_blocks(local_grad_.columns + 2 * r), -radius - r};
      }
    } else {
      strips_.local = {nullptr, kStep + 2 * reach_, whole_blocks(columns_ + 2 * reach_), -reach_};
      if (s_.unit == Unit::kGelu) {
        strips_.local.columns = local_grad_.columns;
        strips_.local.first = -radius;
      }
      strips_.input = {nullptr, kStep + reach_ + 2 * radius, strips_.local.columns + 2 * radius,
                       strips_.local.first - radius};
      strips_.next_input = -radius;
      strips_.next_local = -reach_;
    }
    place([&](Scratch& scratch) {
      weights_ = scratch.take<A>(taps_ * kLanes<A>);
      flipped_ = scratch.take<A>(taps_ * kLanes<A>);
      sums_ = scratch.take<A>(taps_ * kLanes<A>);
      scratch.take(grad_);
      scratch.take(local_grad_);
      scratch.take(total_);
      if (s_.unit == Unit::kMultiScale) {
        strips_.place(scratch);
        for (Ring<A>& ring : between_) scratch.take(ring);
      } else {
        scratch.take(strips_.input);
        scratch.take(strips_.local);
      }
    });
    read_weights(s_, plan.params.weights, tile.c0, tile.channels, weights_);
    strips_.weights = weights_;
    flip_weights();
    const int64_t elements = taps_ * kLanes<A>;
    for (int64_t i = 0; i < elements; ++i) sums_[i] = 0;
    if (partial_ != nullptr) {
      for (int64_t i = 0; i < elements; ++i) partial_[i] = 0;
    }
  }

  void run() {
    const int radius = layout_.edge / 2;
    int64_t next_result = 0;
    for (int64_t y = -radius; y < 0; ++y) local_grad_.clear(y);
    for (int64_t y0 = 0; y0 < s_.height; y0 += kStep) {
      const int rows = s_.height - y0 < kStep ? static_cast<int>(s_.height - y0) : kStep;
      read_rows(y0, rows);
      if (s_.unit == Unit::kMultiScale) through_columns(y0, rows);
      if (s_.unit == Unit::kLargeKernel) through_dilated(y0, rows);
      // What a row adds is read from the L1 cache.
      for (int64_t y = y0; y < y0 + rows; ++y) {
        if (s_.unit == Unit::kMultiScale) through_rows(y);
        if (s_.unit == Unit::kGelu) through_gelu(y);
        clear_outside(local_grad_, y, local_grad_.first, local_grad_.first + local_grad_.columns,
                      tile_.x0, s_.width);
        if (wants_weights()) add_weight_gradients(y);
      }
      if (wants_weights()) {
        if (s_.unit == Unit::kMultiScale) add_column_gradients_of(y0, rows);
        flush_sums();
      }
      if (plan_.params.grad_input == nullptr) continue;
      for (; next_result < y0 + rows - radius; ++next_result) write_result(next_result);
    }
    if (plan_.params.grad_input == nullptr) return;
    // The rows below the image replace, one by one, rows that are not needed any more.
    int64_t next_below = s_.height;
    for (; next_result < s_.height; ++next_result) {
      for (; next_below <= next_result + radius; ++next_below) local_grad_.clear(next_below);
      write_result(next_result);
    }
  }

 private:
  bool wants_weights() const { return partial_ != nullptr; }

  // Every convolution's taps from last to first: the transposed convolution.
  void flip_weights() {
    flip(0, layout_.bias);
    if (s_.unit == Unit::kLargeKernel) flip(layout_.dilated, kDilated * kDilated);
    if (s_.unit != Unit::kMultiScale) return;
    for (int i = 0; i < kStrips; ++i) {
      flip(layout_.row[i], layout_.length[i]);
      flip(layout_.column[i], layout_.length[i]);
    }
  }
  void flip(int first, int count) {
    for (int k = 0; k < count; ++k) {
      store(flipped_ + (first + k) * kLanes<A>,
            load(weights_ + (first + count - 1 - k) * kLanes<A>));
    }
  }

  void read_rows(int64_t y0, int rows) {
    const S* grad = static_cast<const S*>(plan_.params.grad);
    const S* input = static_cast<const S*>(plan_.params.input);
    const int radius = layout_.edge / 2;
    for (; next_grad_ < y0 + rows + reach_; ++next_grad_) {
      read_row(s_, grad, tile_, next_grad_, grad_);
    }
    if (s_.unit == Unit::kMultiScale) {
      if (!wants_weights()) return;
      strips_.advance(input, y0, rows);
      return read_input(input, y0 + rows + radius);
    }
    if (!wants_weights() && s_.unit != Unit::kGelu) return;
    read_local_rows(s_, layout_, weights_, 0, input, tile_, strips_.input, strips_.local,
                    strips_.next_input, strips_.next_local, y0 + rows + reach_);
    read_input(input, y0 + rows + radius);
  }
  // The rows below the image that the last rows' gradients of the weights look at.
  void read_input(const S* input, int64_t end) {
    for (; strips_.next_input < end; ++strips_.next_input) {
      read_row(s_, input, tile_, strips_.next_input, strips_.input);
    }
  }

  // The transposed columns of the gradient, to `between_`.
  void through_columns(int64_t y0, int rows) {
    int pieces = 0;
    for (const Ring<A>& u : between_) pieces += blocks_of(rows, u.columns);
    Prefetch<S> prefetch(s_, static_cast<const S*>(plan_.params.grad), tile_, next_grad_, kStep,
                         grad_.first, grad_.first + grad_.columns, pieces);
    for (int i = 0; i < kStrips; ++i) {
      const Ring<A>& u = between_[i];
      const A* w = flipped_ + layout_.column[i] * kLanes<A>;
      A* targets[kStep];
      u.lines(y0, kStep, 0, u.first, targets);
      const A* lines[kStep + kMaxStrip - 1];
      grad_.lines(y0 - layout_.radius[i], kStep + layout_.length[i] - 1, 0, u.first, lines);
      for_blocks(rows, u.columns, [&](auto down, auto size, int r, int column) SCRN_LAMBDA_INLINE {
        constexpr int kRows = decltype(down)::value, kOut = decltype(size)::value;
        const int64_t at = column * kLanes<A>;
        prefetch.some();
        Value<A> acc[kRows * kOut];
        fill<kRows * kOut, A>(acc, Value<A>{});
        add_column<kRows, kOut, A>(acc, w, lines + r, at, layout_.length[i]);
#pragma GCC unroll 16
        for (int k = 0; k < kRows; ++k) store_block<kOut, A>(targets[r + k] + at, acc + k * kOut);
      });
      for (int64_t y = y0; y < y0 + rows; ++y) {
        clear_outside(u, y, u.first, u.first + u.columns, tile_.x0, s_.width);
      }
    }
  }

  // The gradient, and the transposed rows of `between_`.
  void through_rows(int64_t y) {
    const A* own = grad_.at(y, 0, local_grad_.first);
    A* target = local_grad_.at(y, 0, local_grad_.first);
    const A* lines[kStrips];
    for (int i = 0; i < kStrips; ++i) {
      lines[i] = between_[i].at(y, 0, local_grad_.first - layout_.radius[i]);
    }
    for_blocks(local_grad_.columns, [&](auto size, int column) SCRN_LAMBDA_INLINE {
      constexpr int kOut = decltype(size)::value;
      const int64_t at = column * kLanes<A>;
      Value<A> acc[kOut];
      for (int i = 0; i < kOut; ++i) acc[i] = load(own + at + i * kLanes<A>);
      for (int i = 0; i < kStrips; ++i) {
        add_line<kOut, A>(acc, flipped_ + layout_.row[i] * kLanes<A>, lines[i] + at,
                          layout_.length[i]);
      }
      store_block<kOut, A>(target + at, acc);
    });
  }

  void through_dilated(int64_t y0, int rows) {
    const int columns = local_grad_.columns, pieces = rows * blocks_of(columns);
    Prefetch<S> grad(s_, static_cast<const S*>(plan_.params.grad), tile_, next_grad_, kStep,
                     grad_.first, grad_.first + grad_.columns, pieces);
    const Ring<A>& source = strips_.input;
    Prefetch<S> input(s_, static_cast<const S*>(plan_.params.input), tile_, strips_.next_input,
                      wants_weights() ? kStep : 0, source.first, source.first + source.columns,
                      pieces);
    dilated_rows(s_, layout_, flipped_ + layout_.dilated * kLanes<A>, Value<A>{}, grad_, 0, y0,
                 rows, columns,
                 [&](auto size, int r, int column, const Value<A>* acc) SCRN_LAMBDA_INLINE {
                   grad.some();
                   input.some();
                   store_block<decltype(size)::value, A>(
                       local_grad_.at(y0 + r, 0, local_grad_.first + column), acc);
                 });
  }

  void through_gelu(int64_t y) {
    const A* grad = grad_.at(y, 0, local_grad_.first);
    const A* local = strips_.local.at(y, 0, local_grad_.first);
    A* target = local_grad_.at(y, 0, local_grad_.first);
    for (int64_t i = 0; i < local_grad_.columns * kLanes<A>; i += kLanes<A>) {
      store(target + i, load(grad + i) * gelu_slope<A>(load(local + i)));
    }
  }

  // What row y of the tile's own columns adds.
  void add_weight_gradients(int64_t y) {
    const int width = tile_.width;
    add_square_gradient(sums_, local_grad_, strips_.input, y, width, layout_.edge, 1);
    add_sum(sums_ + layout_.bias * kLanes<A>, local_grad_.at(y, 0, 0), width);
    if (s_.unit == Unit::kLargeKernel) {
      add_square_gradient(sums_ + layout_.dilated * kLanes<A>, grad_, strips_.local, y, width,
                          kDilated, s_.dilation);
      add_sum(sums_ + layout_.dilated_bias * kLanes<A>, grad_.at(y, 0, 0), width);
    }
    if (s_.unit != Unit::kMultiScale) return;
    for (int i = 0; i < kStrips; ++i) {
      const A* u = between_[i].at(y, 0, 0);
      add_row_gradient(sums_ + layout_.row[i] * kLanes<A>, u,
                       strips_.local.at(y, 0, -layout_.radius[i]), layout_.length[i], width);
      add_sum(sums_ + layout_.row_bias[i] * kLanes<A>, u, width);
    }
    // All columns have the same bias's gradient.
    A* first = sums_ + layout_.column_bias[0] * kLanes<A>;
    add_sum(first, grad_.at(y, 0, 0), width);
    for (int i = 1; i < kStrips; ++i) {
      store(sums_ + layout_.column_bias[i] * kLanes<A>, load(first));
    }
  }

  // What the columns of rows y0 .. y0 + rows - 1 add. The last few go row by row: zeros in place of
  // others would make NaN of what is not finite.
  void add_column_gradients_of(int64_t y0, int rows) {
    const A *grads[kStep], *sources[kStep + whole_taps(kMaxStrip) - 1];
    grad_.lines(y0, rows, 0, 0, grads);
    for (int i = 0; i < kStrips; ++i) {
      A* sums = sums_ + layout_.column[i] * kLanes<A>;
      const int length = layout_.length[i];
      strips_.row[i].lines(y0 - layout_.radius[i], rows + whole_taps(length) - 1, 0, 0, sources);
      int r = 0;
      for (; r + kHeld <= rows; r += kHeld) {
        add_column_gradient<kHeld>(sums, grads + r, sources + r, length, tile_.width);
      }
      for (; r < rows; ++r) {
        add_column_gradient<1>(sums, grads + r, sources + r, length, tile_.width);
      }
    }
  }

  // Sums of few rows are added up in double: in float32 those of a large map would lose digits.
  void flush_sums() {
    const int64_t elements = taps_ * kLanes<A>;
    for (int64_t i = 0; i < elements; ++i) {
      partial_[i] += sums_[i];
      sums_[i] = 0;
    }
  }

  void write_result(int64_t y) {
    const int radius = layout_.edge / 2;
    const A* lines[kMaxSquare];
    for (int i = 0; i < layout_.edge; ++i) lines[i] = local_grad_.at(y - radius + i, 0, -radius);
    S* grad_input = static_cast<S*>(plan_.params.grad_input);
    S* row = pixel(s_, grad_input, tile_.b, tile_.c0, y, tile_.x0);
    const bool writes = puts_registers<A>(s_, tile_, plan_.streams);
    Prefetch<S> next(s_, grad_input, tile_, y + 1, writes ? 0 : 1, 0, tile_.width,
                     blocks_of(columns_));
    for_blocks(columns_, [&](auto size, int column) SCRN_LAMBDA_INLINE {
      constexpr int kOut = decltype(size)::value;
      Value<A> acc[kOut];
      next.some();
      fill<kOut, A>(acc, Value<A>{});
      for (int i = 0; i < layout_.edge; ++i) {
        add_line<kOut, A>(acc, flipped_ + i * layout_.edge * kLanes<A>,
                          lines[i] + column * kLanes<A>, layout_.edge);
      }
      if (writes) {
        put_columns<kOut, S, A>(row, s_.channels, tile_.width, column, acc, plan_.streams);
      } else {
        store_block<kOut, A>(total_.at(0, 0, column), acc);
      }
    });
    if (!writes) write_row(s_, total_, 0, grad_input, tile_, y, false);
  }

  const BackwardPlan& plan_;
  const UnitShape& s_;
  const Tile& tile_;
  const Layout layout_;
  double* partial_;
  int reach_ = 0, columns_ = 0;
  int64_t taps_ = 0, next_grad_ = 0;
  A *weights_ = nullptr, *flipped_ = nullptr, *sums_ = nullptr;
  StripRows<S, A> strips_{s_, layout_, tile_, nullptr, 0, {}, {}, {}, 0, 0, {}};
  Ring<A> grad_, local_grad_, total_, between_[kStrips];
};

template <typename S, typename A>
void backward_tasks(const BackwardPlan& plan, int64_t begin, int64_t end) {
  const UnitShape& s = plan.params.shape;
  const int64_t groups = (s.channels + kLanes<A> - 1) / kLanes<A>;
  const int64_t all_groups = plan.padded_channels / kLanes<A>;
  for (int64_t task = begin; task < end; ++task) {
    const Tile tile = tile_of(s, plan.tiles, plan.tile_width, kLanes<A>, kLanes<A>, task);
    double* partial = nullptr;
    if (plan.params.grad_weights != nullptr) {
      const int64_t index = task / groups * all_groups + task % groups;
      partial = plan.partial + index * taps_of(s) * kLanes<A>;
    }
    BackwardTile<S, A>(plan, tile, partial).run();
  }
  if (plan.streams) fence_streams();
}

}  // namespace
}  // namespace scrn::depthwise::cpu::SCRN_CPU_ISA
