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
            "the halo's pixels in the loss",
            "sum_of<float>(counted(s, p) != 0 ? logs : Value<float>{})",
            "sum_of<float>(logs)",
        ),
        (
            "a cell's second label is its first",
            "store_index(labels[r * S + t], each | same);",
            "store_index(labels[r * S + t], each);",
        ),
        (
            "pixels of a third label left out",
            "      if (labels[q][i] >= 0) take(i, labels[q][i], w, 1);",
            "      if (labels[q][i] >= 1000) take(i, labels[q][i], w, 1);",
        ),
        (
            "the halo's labels in the loss",
            "if (!counts) return;",
            "",
        ),
        (
            "one pixel of each label in the weight",
            "weight_sum += count * (",
            "weight_sum += 1 * (",
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
        f"{FOLDER}/classify_cpu.cpp",
        (
            "many classes in strips as wide as few",
            "const int64_t most = classes < kManyClasses",
            "const int64_t most = classes < 100 * kManyClasses",
        ),
        (
            "the last pixels of a shape in no cell",
            "++first_[cell + 2 > in_size + 1 ? in_size + 1 : cell + 2];",
            "++first_[cell + 2];",
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
