"""Mistakes in the CUDA kernels that people make, or that a test might overlook."""

from __future__ import annotations

from ...engine.mutation import planted

FOLDER = "csrc/classify/cuda"

CHOSEN = (
    *planted(
        f"{FOLDER}/gradient.cuh",
        (
            "the row of cells before the band forgotten",
            "for (int32_t row = row0 - 1; row < row1; ++row) {",
            "for (int32_t row = row0; row < row1; ++row) {",
        ),
        (
            "left border not folded",
            "ends.top_right[c] += ends.top_left[c];",
            "",
        ),
        (
            "first row of cells kept above",
            "bottom += top;",
            "",
        ),
        (
            "the cell before from the wrong side",
            "__shfl_up_sync(kFullWarp, ends.top_right[c], 1)",
            "__shfl_down_sync(kFullWarp, ends.top_right[c], 1)",
        ),
        (
            "nothing carried to the next row",
            "carried[c] = bottom;",
            "carried[c] = A(0);",
        ),
        (
            "the halo's node written, too",
            "const bool owns = lane > 0 && column < axis_x.in_size;",
            "const bool owns = column < axis_x.in_size;",
        ),
        (
            "strips that do not overlap",
            "inline constexpr int kStrip = kWarp - 1;",
            "inline constexpr int kStrip = kWarp;",
        ),
        (
            "one-hot without its factor",
            "if (label == first + c) slope -= hard;",
            "if (label == first + c) slope -= A(1);",
        ),
        (
            "ignored pixels count",
            "if (label == -1) continue;",
            "",
        ),
        (
            "gradient of the loss left out of the softmax",
            "factor *= w.soft[label] * scale;",
            "factor *= w.soft[label];",
        ),
        (
            "mean of the sum's slope",
            "p.reduction == Reduction::kMean ? p.statistics->weight_sum : 1.0;",
            "1.0;",
        ),
        (
            "the largest exponent left out where a sum underflows",
            "largest = w.largest[place];",
            "largest = A(0);",
        ),
    ),
    *planted(
        f"{FOLDER}/loss.cuh",
        (
            "sum not rescaled to a new largest value",
            "sums.sum[r][c] *= exponential(largest, value);",
            "",
        ),
        (
            "sums that underflow not noticed",
            "lost = lost || !(sums.sum[r][c] >= static_cast<A>(kUnderflow));",
            "",
        ),
        (
            "natural logarithm for one of base two",
            "value = soft * std::log2(sum) * kLn2<A>;",
            "value = soft * std::log2(sum);",
        ),
        (
            "what smoothing takes is not relative to the pixel's largest class",
            "infinite_below(spread - uniform * largest);",
            "infinite_below(spread);",
        ),
        (
            "the row of cells before a span counts again",
            "if (p.reduction == Reduction::kNone || (row < span.row0 && row >= 0)) continue;",
            "if (p.reduction == Reduction::kNone) continue;",
        ),
        (
            "weights below 1 scale no gradient",
            "double total = 0, most = 0;",
            "double total = 0, most = 1;",
        ),
        (
            "a mean over no pixel has a slope",
            "valid > 0 ? w.statistics->gradient_scale : 0;",
            "w.statistics->gradient_scale;",
        ),
        (
            "weight of the pixels left out of the mean",
            ": static_cast<double>(static_cast<const A*>(p.weight)[label]);",
            ": 1.0;",
        ),
        (
            "half of the warp summed",
            "loss = warp_sum<kWarp>(loss);",
            "loss = warp_sum<kWarp / 2>(loss);",
        ),
    ),
    *planted(
        f"{FOLDER}/workspace.cuh",
        (
            "a span without the pixels above its first row",
            "row0, row1, first_output(axis_y, row0 - 1), first_output(axis_y, row1)};",
            "row0, row1, first_output(axis_y, row0), first_output(axis_y, row1)};",
        ),
        (
            "all images of a span in one place",
            "return ((image - span.image) * (span.y1 - span.y0) + y - span.y0) * width + x;",
            "return (y - span.y0) * width + x;",
        ),
    ),
    *planted(
        f"{FOLDER}/argmax.cuh",
        (
            "the last class left out",
            "for (int32_t k = 0; k < classes; ++k, plane += steps.plane) {",
            "for (int32_t k = 0; k < classes - 1; ++k, plane += steps.plane) {",
        ),
        (
            "confidence not rescaled",
            "sum[r][c] *= std::exp2((best[r][c] - value) * kLog2e<A>);",
            "",
        ),
    ),
    *planted(
        f"{FOLDER}/common.cuh",
        (
            "cells that start a pixel late",
            "split(least + axis.mul - 1, axis.mul, quotient, remainder);",
            "split(least + axis.mul, axis.mul, quotient, remainder);",
        ),
        (
            "the last node's neighbour is the next row's",
            "return node < 0 ? 0 : (node < size ? node : size - 1);",
            "return node < 0 ? 0 : node;",
        ),
        (
            "channels_last without the step between columns",
            "steps.column = static_cast<int32_t>(s.channels_last ? classes : 1);",
            "steps.column = 1;",
        ),
    ),
)
