"""Mistakes in the CUDA kernels that people make, or that a test might overlook."""

from __future__ import annotations

from ...engine.mutation import planted

FOLDER = "csrc/depthwise/cuda"

CHOSEN = (
    *planted(
        f"{FOLDER}/multi_scale_forward.cuh",
        (
            "no barrier between row and column strips",
            "(shared, step, row, s.height);\n      }\n      __syncthreads();",
            "(shared, step, row, s.height);\n      }",
            "barrier",
        ),
        (
            "no barrier between input and local map",
            "- kHalo, input);\n        });\n      }\n      __syncthreads();",
            "- kHalo, input);\n        });\n      }",
            "barrier",
        ),
        (
            "row biases leak below the image",
            "each = inside ? weights[Tile::row_bias(kStrip)] : A(0);",
            "each = weights[Tile::row_bias(kStrip)];",
        ),
        (
            "halo off by one row",
            "begin > 0 ? begin - kRadius : 0;",
            "begin > 0 ? begin - kRadius + 1 : 0;",
        ),
        (
            "rings start with anything",
            "      shared[i] = 0;\n",
            "",
        ),
        (
            "a column bias forgotten",
            "weights[Tile::column_bias(1)] + weights[Tile::column_bias(2)];",
            "weights[Tile::column_bias(1)];",
        ),
    ),
    *planted(
        f"{FOLDER}/multi_scale_tile.cuh",
        (
            "bias of the local map leaks out",
            "if (!(inside && has(across, column + e))) sum[e] = 0;",
            "if (!inside) sum[e] = 0;",
        ),
        (
            "the transposed strip is not turned round",
            "kFlipped ? kLength - 1 - tap : tap",
            "tap",
        ),
        (
            "the transposed column is not turned round",
            "const int tap = kLength - 1 - (row - e);",
            "const int tap = row - e;",
        ),
        (
            "5x5 kernel transposed",
            "if (tap < kTaps) return tap / kLocal * 8 + tap % kLocal;",
            "if (tap < kTaps) return tap % kLocal * 8 + tap / kLocal;",
        ),
        (
            "ring a granule too short",
            "return slot < 0 ? slot + ring : slot;",
            "return slot < 0 ? slot + ring - 1 : slot;",
        ),
    ),
    *planted(
        f"{FOLDER}/multi_scale_backward.cuh",
        (
            "rows of the next chunk counted, too",
            "each = row < rows ? each : A(0);",
            "each = each;",
        ),
        (
            "no barrier between u and the rows",
            "has_gradient, sums);\n        __syncthreads();\n        row_results",
            "has_gradient, sums);\n        row_results",
            "barrier",
        ),
        (
            "columns beside the tile not computed",
            "i < Tile::kGroup * Tile::kGranules * 2 * kReach;",
            "i < 0;",
        ),
        (
            "gradient of the result left out of the local map's",
            "sum[e] = grad[e];",
            "sum[e] = 0;",
        ),
        (
            "g a row too low",
            "row_of(grads, thread.channel, kResultRow<Tile> + row)",
            "row_of(grads, thread.channel, kResultRow<Tile> + row + 1)",
        ),
    ),
    *planted(
        f"{FOLDER}/local_backward.cuh",
        (
            "kernel not turned round",
            "const A weight = taps[kLocal - 1 - dx];",
            "const A weight = taps[dx];",
        ),
        (
            "gradient outside of the chunk counted",
            "own[e] = inside ? window[e + kHalo] : A(0);",
            "own[e] = window[e + kHalo];",
        ),
        (
            "no barrier before the sums are read",
            "add_up<Tile::kSpan>(gradient, scratch);\n      __syncthreads();",
            "add_up<Tile::kSpan>(gradient, scratch);",
            "barrier",
        ),
    ),
    *planted(
        f"{FOLDER}/multi_scale_any.cuh",
        (
            "strip of any length a column too far",
            "row_of(local, c, row) + column + Tile::kRadius - length / 2,",
            "row_of(local, c, row) + column + Tile::kRadius - length / 2 + 1,",
        ),
        (
            "column of any length not turned round",
            "Tile::column_weights(strip), length, true, sum);",
            "Tile::column_weights(strip), length, false, sum);",
        ),
        (
            "weights of the last turn left out",
            "slot < Tile::kRowItems; ++slot",
            "slot < Tile::kRowItems - 1; ++slot",
        ),
        (
            "gradient of g's sum missing",
            "if (weight.strip == kStrips) gradient",
            "if (weight.strip == kStrips && strip > 0) gradient",
        ),
    ),
    *planted(
        f"{FOLDER}/sums.cuh",
        (
            "half a segment added up",
            "warp_sum<kSegment<kSpan>>(values[v])",
            "warp_sum<kSegment<kSpan> / 2>(values[v])",
        ),
        (
            "one warp of two",
            "constexpr int kSegments = kSpan / kSegment<kSpan>;",
            "constexpr int kSegments = 1;",
        ),
    ),
    *planted(
        f"{FOLDER}/common.cuh",
        (
            "images share their sums",
            "(rest * t.bands + band) * t.columns + column",
            "band * t.columns + column",
        ),
        (
            "weights of channels beyond the last read",
            "if (channel >= p.shape.channels) continue;",
            "",
        ),
        (
            "too little shared memory asked for",
            "cudaFuncAttributeMaxDynamicSharedMemorySize, kMost);",
            "cudaFuncAttributeMaxDynamicSharedMemorySize, kMost / 2);",
        ),
    ),
    *planted(
        f"{FOLDER}/rings.cuh",
        (
            "columns beyond the map written",
            "if (has(across, x)) to[",
            "if (x >= 0) to[",
        ),
        (
            "channels beyond the last read",
            "const bool inside = c < map.channels && has(down, row);",
            "const bool inside = has(down, row);",
        ),
    ),
)
