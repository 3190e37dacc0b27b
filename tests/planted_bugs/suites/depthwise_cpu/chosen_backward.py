"""Mistakes in the backward of the depthwise units on a CPU."""

from __future__ import annotations

from ...engine.mutation import planted

FOLDER = "csrc/depthwise/cpu"

BACKWARD = (
    *planted(
        f"{FOLDER}/backward.h",
        (
            "weights that are not turned round",
            "load(weights_ + (first + count - 1 - k) * kLanes<A>)",
            "load(weights_ + (first + k) * kLanes<A>)",
        ),
        (
            "the local gradient is not zero outside the image",
            "local_grad_.first + local_grad_.columns,\n                      tile_.x0, s_.width);",
            "local_grad_.first,\n                      tile_.x0, s_.width);",
        ),
        (
            "gradients between the strips are not zero outside the image",
            "clear_outside(u, y, u.first, u.first + u.columns, tile_.x0, s_.width);",
            "clear_outside(u, y, u.first, u.first, tile_.x0, s_.width);",
        ),
        (
            "the way around the strips left out",
            "acc[i] = load(own + at + i * kLanes<A>);",
            "acc[i] = 0 * load(own + at + i * kLanes<A>);",
        ),
        (
            "rows behind the last one are taken with the others",
            "for (; r + kHeld <= rows; r += kHeld)",
            "for (; r < rows; r += kHeld)",
        ),
        (
            "the columns' gradients of rows together are the first ones'",
            "add_column_gradient<kHeld>(sums, grads + r, sources + r,",
            "add_column_gradient<kHeld>(sums, grads + r, sources,",
        ),
        (
            "the columns' gradients of the last rows are the first one's",
            "add_column_gradient<1>(sums, grads + r, sources + r,",
            "add_column_gradient<1>(sums, grads + r, sources,",
        ),
        (
            "sums of rows are not added up",
            "partial_[i] += sums_[i];",
            "partial_[i] = sums_[i];",
        ),
        (
            "sums of rows are added twice",
            "      partial_[i] += sums_[i];\n      sums_[i] = 0;",
            "      partial_[i] += sums_[i];",
        ),
        (
            "the rows below the image are those before",
            "++next_below) local_grad_.clear(next_below);",
            "++next_below) local_grad_.slot(next_below);",
        ),
        (
            "the rows above the image hold anything",
            "for (int64_t y = -radius; y < 0; ++y) local_grad_.clear(y);",
            "",
        ),
        (
            "the gradient of GELU's input without the incoming one",
            "store(target + i, load(grad + i) * gelu_slope<A>(load(local + i)));",
            "store(target + i, gelu_slope<A>(load(local + i)));",
        ),
        (
            "the dilated kernel's gradient undilated",
            "kDilated, s_.dilation);\n      add_sum",
            "kDilated, 1);\n      add_sum",
        ),
        (
            "rows of the gradient come too late",
            "for (; next_grad_ < y0 + rows + reach_; ++next_grad_)",
            "for (; next_grad_ < y0 + rows + reach_ - 1; ++next_grad_)",
        ),
    ),
    *planted(
        f"{FOLDER}/weight_gradients.h",
        (
            "products of a gradient and the register beside its own",
            "acc[i - r] = fma(g[r], value, acc[i - r]);",
            "acc[i - r] = fma(g[kCount - 1 - r], value, acc[i - r]);",
        ),
        (
            "every piece of a strip is the first one",
            "first += 7) body(Count<7>{}, first);",
            "first += 7) body(Count<7>{}, 0 * first);",
        ),
        (
            "columns between dilated ones add nothing to the gradients",
            "for (int first = 0; first < dilation; ++first) {\n    x = first;",
            "for (int first = 0; first < 1; ++first) {\n    x = first;",
        ),
        (
            "columns behind the last whole step add nothing to a row's gradients",
            "while (x < width) add(Count<1>{});",
            "",
        ),
        (
            "a row's gradient stays where it is",
            "pinned(grad + x * kLanes<A>);",
            "pinned(grad);",
        ),
        (
            "a column's last pixel left out",
            "for (int x = 0; x < width; ++x) {\n      const int64_t at = x * kLanes<A>;",
            "for (int x = 0; x + 1 < width; ++x) {\n      const int64_t at = x * kLanes<A>;",
        ),
        (
            "one tile's part of the weights' gradients",
            "for (int64_t i = 0; i < piece; ++i) total[i] += partial[i];",
            "for (int64_t i = 0; i < piece; ++i) total[i] = partial[i];",
        ),
        (
            "the first register's gradients for every channel",
            "const double* partial = plan.partial + tile * stride + group * piece;",
            "const double* partial = plan.partial + tile * stride;",
        ),
        (
            "the last column left out of sums",
            "for (; x < width; ++x) acc[0]",
            "for (; x + 1 < width; ++x) acc[0]",
        ),
        (
            "the last taps of a strip left out",
            "for (int first = 0; first < count; first += 7) body",
            "for (int first = 0; first + 7 <= count; first += 7) body",
        ),
        (
            "taps behind the last one are added to the bias",
            "for (int i = 0; i < kOut && i < count; ++i)",
            "for (int i = 0; i < kOut && i <= count; ++i)",
        ),
        (
            "the second of two lines is the first",
            "pinned(lines[l] + x * kLanes<A>);",
            "pinned(lines[0] + x * kLanes<A>);",
        ),
        (
            "sums that start anew with every row",
            "store(sum, load(sum) + acc[i]);",
            "store(sum, acc[i]);",
        ),
    ),
)
