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
            "ends.top_right += ends.top_left;",
            "",
        ),
        (
            "first row of cells kept above",
            "below += row >= 0 ? bottom : bottom + top;",
            "below += bottom;",
        ),
        (
            "the cell before from the wrong side",
            "__shfl_up_sync(kFullWarp, ends.top_right, 1)",
            "__shfl_down_sync(kFullWarp, ends.top_right, 1)",
        ),
        (
            "nothing carried to the next row",
            "const int which = (row - row0) & 1;",
            "const int which = 0;",
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
            "slope = std::fma(-hard, scale, slope);",
            "slope -= scale;",
        ),
        (
            "ignored pixels count",
            "if (label == kNone) continue;",
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
            "held.own |= 1u << (r * C + c);",
            "",
        ),
        (
            "labels of one lane only looked at",
            "const uint32_t labels = any_lane(held.labels);",
            "const uint32_t labels = held.labels;",
        ),
        (
            "what is not finite taken by the fast way",
            "held.own != 0 || none != A(0)",
            "held.own != 0",
        ),
        (
            "a class of the next group's labels",
            "if (label >= first && label < first + classes) {",
            "if (label >= first) {",
        ),
        (
            "the pixels' number not cleared after a row",
            "above[kGroup<A>][lane] = A(0);",
            "",
        ),
        (
            "rest of the gradient behind the last vector left out",
            "i < p.count; i += threads) {",
            "i < done; i += threads) {",
        ),
    ),
    *planted(
        f"{FOLDER}/loss.cuh",
        (
            "sum not rescaled to a new largest value",
            "sum *= exponential(largest, value);",
            "",
        ),
        (
            "sums that underflow not noticed",
            "if (label >= 0 && !(sum >= static_cast<A>(kUnderflow))) {",
            "if (label >= 0 && !(sum >= A(0))) {",
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
            "image * s.out_h + first_output(axis, row0 - 1);",
            "image * s.out_h + first_output(axis, row0);",
        ),
        (
            "a span's pixels from the image's first on",
            "image * s.out_h + first_output(axis, row0 - 1);",
            "image * s.out_h;",
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
            "what rounding adds left out of the bound of the classes passed over",
            "least -= (least < A(0) ? -least : least) * kMargin;",
            "",
        ),
        (
            "a corner left out of the bound of the classes passed over",
            "v.bottom_left < least &&",
            "true &&",
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
