"""Mistakes in the CPU kernels that people make, or that a test might overlook."""

from __future__ import annotations

from ...engine.mutation import planted

FOLDER = "csrc/classify/cpu"

CHOSEN = (
    *planted(
        f"{FOLDER}/any_ratio.h",
        (
            "sums that underflow not noticed",
            "lost |= ~(sum[n] >= static_cast<A>(kUnderflow)) & valid_of<A>(labels[n]);",
            "lost |= Index<A>{};",
        ),
        (
            "the pixel's largest class left out of its logarithm",
            "log_sum[n] = largest[n] + log_of(sum[n]);",
            "log_sum[n] = log_of(sum[n]);",
        ),
        (
            "weights of a cell's pixels counted once",
            "s.result.weight += (one ? static_cast<double>(present[i]) : 1.0) *",
            "s.result.weight += 1.0 *",
        ),
    ),
    *planted(
        f"{FOLDER}/whole_ratio.h",
        (
            "the tile behind is the same one",
            "    e = next;\n    next = done;",
            "    next = done;",
        ),
        (
            "factors of the left end for the right",
            "      store(factors + (2 * q + 1) * L, right);",
            "      store(factors + (2 * q + 1) * L, factor - right);",
        ),
        (
            "values of the first class for all",
            "pixel[t] = load(values + at * S + t * L);",
            "pixel[t] = load(values + r * L * S + t * L);",
        ),
        (
            "the halo's pixels in the loss",
            "sum_of<float>(counted(s, p) != 0 ? loss : Value<float>{})",
            "sum_of<float>(loss)",
        ),
        (
            "pixels without a class in the logarithms",
            "valid != 0 ? load(sums + q * L) : broadcast(1.0f);",
            "load(sums + q * L);",
        ),
    ),
    *planted(
        f"{FOLDER}/whole_rows.h",
        (
            "a cell's second label is its first",
            "label_of(q) | (label_of(q) >= label);",
            "label_of(q) | (label_of(q) > label);",
        ),
        (
            "pixels of a third label left out",
            "lanes_of((each >= 0) & (each <= most));",
            "lanes_of((each >= 0) & (each < most));",
        ),
        (
            "the halo's labels in the loss",
            "const Index<float> counting = cells & counts;",
            "const Index<float> counting = cells;",
        ),
        (
            "the halo's third labels in the loss",
            "      if (!counted(s, p, i)) continue;\n",
            "",
        ),
        (
            "one pixel of each label in the weight",
            "sum_of(shares.pixels & counting)",
            "sum_of(counting & 1)",
        ),
        (
            "cells of another label in the gradient",
            "const Value<float> factor = cells != 0 ? broadcast(-hard) : Value<float>{};",
            "const Value<float> factor = broadcast(-hard);",
        ),
        (
            "all cells of a tile have the first one's label",
            "!any(((label ^ first) | (least ^ first)) != 0)",
            "!any((label ^ first) != 0)",
        ),
        (
            "smoothing of pixels without a class",
            "[](Index<float> each) { return each >= 0; }",
            "[](Index<float> each) { return each >= -1; }",
        ),
        (
            "the halo's pixels in the smoothing",
            "(valid.pixels & counts) != 0",
            "valid.pixels != 0",
        ),
        (
            "left weights of whole cells by the right ones",
            "const float left = S - right;",
            "const float left = S - right - 1;",
        ),
        (
            "border cells as wide as others",
            "s.first(p + L) - s.first(p) == S * L",
            "true",
        ),
        (
            "labels of cells in disorder",
            "deinterleave<S>(pixel);",
            "",
        ),
    ),
    *planted(
        f"{FOLDER}/strip.h",
        (
            "what the node behind the last one got is lost",
            "  if (part.column1 == shape.in_w) row[part.cells - 1] += row[part.cells];",
            "",
        ),
        (
            "halves that are not scaled",
            "const A factor = static_cast<A>(plan.gradient_factor);",
            "const A factor = 1;",
        ),
    ),
    *planted(
        f"{FOLDER}/argmax.h",
        (
            "classes dropped that may win in another cell",
            "if (any(most >= guaranteed))",
            "if (!any(most < guaranteed))",
        ),
        (
            "cells that disagree below are decided",
            "(label != top[p + i + 1]) | (label != bottom[p + i]) | (label != bottom[p + i + 1]);",
            "label != top[p + i + 1];",
        ),
    ),
    *planted(
        f"{FOLDER}/upsample.h",
        (
            "a neighbour's share for its own",
            "return fma(after, share, before * (A(1) - share));",
            "return fma(before, share, after * (A(1) - share));",
        ),
        (
            "what is written behind a row",
            "k < classes && k + kLanes<A> <= room;",
            "k < classes;",
        ),
        (
            "columns that lie far apart",
            "if (in_two_registers(index, start))",
            "if (true)",
        ),
        (
            "the first strip's columns for all",
            "const int32_t first = x.before[begin];",
            "const int32_t first = 0;",
        ),
        (
            "a band's last row left out",
            "for (int32_t y = y0; y < y1; ++y)",
            "for (int32_t y = y0; y + 1 < y1; ++y)",
        ),
        ("the first image for all", "plane * shape.in_h * in_row + first * K", "first * K"),
    ),
    *planted(
        f"{FOLDER}/classify_cpu.cpp",
        (
            "a neighbour without a share counts",
            "after_[i] = share == 0 ? before_[i] : before_[i] + 1;",
            "after_[i] = std::min(before_[i] + 1, in_size - 1);",
        ),
        (
            "many classes in strips as wide as few",
            "const int64_t most = classes >= kManyClasses",
            "const int64_t most = classes >= 100 * kManyClasses",
        ),
        (
            "a mean over no pixel has a slope",
            "if (!valid) statistics.gradient_scale = 0;",
            "",
        ),
        (
            "weights below 1 scale no gradient",
            "std::max(1.0, double(s.out_w) / s.in_w) * factors.largest();",
            "std::max(1.0, double(s.out_w) / s.in_w) * std::max(1.0, factors.largest());",
        ),
    ),
)
