"""Mistakes in the CUDA kernels of the large-kernel unit and of GELU."""

from __future__ import annotations

from ...engine.mutation import planted

FOLDER = "csrc/depthwise/cuda"

LARGE_KERNEL = (
    *planted(
        f"{FOLDER}/large_kernel.cuh",
        (
            "no barrier before the dilated convolution",
            "    __syncthreads();\n    use(y0, local, chunk.data);",
            "    use(y0, local, chunk.data);",
            "barrier",
        ),
        (
            "the first bias leaks out of the image",
            "row0 + row, column) = inside ? value[r] : A(0);",
            "row0 + row, column) = value[r];",
        ),
        (
            "halo of the input off by a row",
            "from, y - kRadius, x - kRadius);",
            "from, y - kRadius + 1, x - kRadius);",
        ),
        (
            "a row of the last step not kept",
            "row < kept; ++row)",
            "row < kept - 1; ++row)",
        ),
        (
            "the gradient leaks out of the image",
            "plane, row, column) = inside ? value[r] : A(0);",
            "plane, row, column) = has ? value[r] : A(0);",
        ),
    ),
    *planted(
        f"{FOLDER}/convolve.cuh",
        (
            "transposed weights",
            "at % edge * kWeightPitch + at / edge",
            "at / edge * kWeightPitch + at % edge",
        ),
        (
            "the backward does not flip the weights",
            "flipped ? count - 1 - tap : tap;",
            "tap;",
        ),
    ),
    *planted(
        f"{FOLDER}/sums.cuh",
        (
            "the last tile left out",
            "i < c.tiles; i += kLanes",
            "i < c.tiles - 1; i += kLanes",
        ),
    ),
    *planted(
        f"{FOLDER}/tiles.cuh",
        (
            "channels behind the last one read",
            "(P == 1 || plane < from.channels);",
            "true;",
        ),
    ),
)

GELU = (
    *planted(
        f"{FOLDER}/gelu_rows.cuh",
        (
            "the row below the image read",
            "y < end && y + 1 < p.height,",
            "y < end,",
        ),
        (
            "left neighbours across the edge",
            "has_left = column > 0,",
            "has_left = column >= 0,",
        ),
    ),
    *planted(
        f"{FOLDER}/gelu_borders.cuh",
        (
            "the border below for that above",
            "row < b.radius ? below - 1 : below,",
            "below,",
        ),
    ),
    *planted(
        f"{FOLDER}/gelu_tiles.cuh",
        (
            "the gradient is not that of GELU",
            "*= gelu_slope(value[r]);",
            "*= value[r];",
        ),
    ),
    *planted(
        f"{FOLDER}/normal.cuh",
        (
            "the normal distribution ends early",
            "constexpr float kEnd = 5.4f;",
            "constexpr float kEnd = 3.4f;",
        ),
        (
            "a little below 0 of the normal distribution",
            "fmaxf(below, 0.0f)",
            "below",
        ),
        (
            "a little above 1 of the normal distribution",
            "fminf(fmaxf(below, 0.0f), 1.0f)",
            "fmaxf(below, 0.0f)",
        ),
    ),
)

CHOSEN = LARGE_KERNEL + GELU
