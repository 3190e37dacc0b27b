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
            "kBand = 16, kStrip = kWarp - 1;",
            "kBand = 16, kStrip = kWarp;",
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
            "factor = label >= 0 ? scale * w.soft[label] : scale;",
            "factor = label >= 0 ? w.soft[label] : scale;",
        ),
        (
            "mean of the sum's slope",
            "const double divisor = mean ? p.statistics->weight_sum : 1.0;",
            "const double divisor = 1.0;",
        ),
    ),
    *planted(
        f"{FOLDER}/loss.cuh",
        (
            "sum not rescaled to a new largest value",
            "sums.sum[r][c] *= std::exp2(sums.largest[r][c] - value);",
            "",
        ),
        (
            "factor of the softmax not kept",
            "kept = soft != A(0) ? kept - std::log2(soft) : static_cast<A>(INFINITY);",
            "kept = soft != A(0) ? kept : static_cast<A>(INFINITY);",
        ),
        (
            "natural logarithm for one of base two",
            "if (soft != A(0)) value = soft * log_sum * kLn2<A>;",
            "if (soft != A(0)) value = soft * log_sum;",
        ),
        (
            "weight of the pixels left out of the mean",
            ": static_cast<double>(static_cast<const A*>(p.weight)[label]);",
            ": 1.0;",
        ),
        (
            "half of the warp summed",
            "for (int step = kWarp / 2; step > 0; step /= 2) {",
            "for (int step = kWarp / 4; step > 0; step /= 2) {",
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
