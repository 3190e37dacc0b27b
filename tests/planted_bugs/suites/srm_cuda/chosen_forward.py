"""Mistakes in the forward kernels that people make, or that a test might overlook."""

from __future__ import annotations

from ...engine.mutation import planted

FOLDER = "csrc/srm/cuda"

FORWARD = (
    *planted(
        f"{FOLDER}/sample_forward.cuh",
        (
            "only the first launch of several",
            "plan.first += options.max_blocks",
            "plan.first = plan.blocks",
        ),
        (
            "bytes of a pixel in 32 bits",
            "fits_index32(shape.channels * static_cast<int64_t>(sizeof(T)))",
            "fits_index32(shape.channels)",
        ),
    ),
    *planted(
        f"{FOLDER}/forward_offsets.cuh",
        (
            "blocks left over for a round of their own",
            "if (cost < best_cost) {",
            "if (best_cost == INT64_MAX) {",
        ),
        (
            "left border not padded with zero",
            "at_y >= 0 && at_y < height && at_x >= 0 && at_x < width",
            "at_y >= 0 && at_y < height && at_x < width",
        ),
        (
            "row below the map read",
            "at_y >= 0 && at_y < height && at_x >= 0 && at_x < width",
            "at_y >= 0 && at_y <= height && at_x >= 0 && at_x < width",
        ),
        (
            "rows of the mask swapped",
            "source[static_cast<Index>(3 * row + k) * pixels]",
            "source[static_cast<Index>(3 * (2 - row) + k) * pixels]",
        ),
        (
            "mask of the first image for all",
            "static_cast<const S*>(p.mask) + image * 9 * pixels",
            "static_cast<const S*>(p.mask)",
        ),
        (
            "y's offset for both dimensions",
            "raw_of<T>(source[dim * pixels +",
            "raw_of<T>(source[pixels +",
        ),
    ),
    *planted(
        f"{FOLDER}/forward_channels_last.cuh",
        (
            "x and y swapped",
            "tx = taps[0][at.pixel], ty = taps[1][at.pixel];",
            "tx = taps[1][at.pixel], ty = taps[0][at.pixel];",
        ),
        (
            "skip of the next vector",
            "const Packed<T> own = ahead;\n"
            "    if constexpr (V > 1) ahead = load_skip(skip, next_out);",
            "if constexpr (V > 1) ahead = load_skip(skip, next_out);\n"
            "    const Packed<T> own = ahead;",
        ),
        (
            "skip of the first vector left out",
            "ahead = load_skip(skip, place_in_output",
            "ahead = load_skip<T, Index>(nullptr, place_in_output",
        ),
        (
            "skip asked for behind the map",
            "return skip != nullptr && at >= 0 ?",
            "return skip != nullptr ?",
        ),
        (
            "third row left out",
            "if (ty.weight[2] != A(0))\n",
            "if (ty.weight[2] != A(0) && ty.weight[1] == A(0))\n",
        ),
        (
            "values of no weight summed",
            "if (weight != A(0)) sum += weight *",
            "sum += weight *",
        ),
        (
            "vectors of no weight read",
            "if (weight_y[r] != A(0) && weight_x[q] != A(0)) {",
            "if (true) {",
        ),
        (
            "pixels behind a row's end",
            "if (!(at.pixel < kLastTile && y < s.out_h && x < s.out_w)) return -1;",
            "if (!(at.pixel < kLastTile && y < s.out_h)) return -1;",
        ),
        (
            "no barrier behind the taps",
            "slopes);\n  }\n  __syncthreads();",
            "slopes);\n  }",
            "barrier",
        ),
        (
            "a row of neighbours not summed",
            "return value + __shfl_xor_sync(kFullWarp, value, 16);",
            "return value;",
        ),
        (
            "greatest logit of two rows only",
            "apart <= 16; apart *= 2",
            "apart <= 8; apart *= 2",
        ),
        (
            "fourth lane adds the third row again",
            "sum += row < 3 ? mask[k] * raw_value",
            "sum += row < 4 ? mask[k] * raw_value",
        ),
        (
            "fourth lane in the softmax's sum",
            "mask[k] = row < 3 ? std::exp(mask[k] - top) : A(0);",
            "mask[k] = std::exp(mask[k] - top);",
        ),
        (
            "channels_last address in 32 bits",
            "input + (at_most(ty.first + r, s.in_h - 1) * (s.in_w * channels) + c)",
            "input + static_cast<int>(static_cast<unsigned>(at_most(ty.first + r, s.in_h - 1)) *"
            " static_cast<unsigned>(s.in_w * channels) + c)",
        ),
    ),
    *planted(
        f"{FOLDER}/forward_planes.cuh",
        (
            "last planes not repeated but read beyond",
            "const Index plane = at_most(i, count - 1 - c);\n      Reader::load",
            "const Index plane = i;\n      Reader::load",
        ),
        (
            "skips of planes beyond the last",
            "const Index plane = at_most(i, count - 1 - c);\n      skips[i]",
            "const Index plane = i;\n      skips[i]",
        ),
        (
            "one plane too few",
            "const Index plane = at_most(i, count - 1 - c);\n      Reader::load",
            "const Index plane = at_most(i, count - 2 - c);\n      Reader::load",
        ),
        (
            "plane behind the last written",
            "if (c + i < count) output[i * out_plane]",
            "if (true) output[i * out_plane]",
        ),
        (
            "stride of the skip's planes",
            "skips[i] = skip[plane * out_plane]",
            "skips[i] = skip[plane * in_plane]",
        ),
        (
            "rows of words that end in half a word",
            "s.in_w % 2 == 0 && s.in_w >= 4 &&",
            "s.in_w >= 4 &&",
        ),
        (
            "rows of a single word",
            "s.in_w % 2 == 0 && s.in_w >= 4 &&",
            "s.in_w % 2 == 0 &&",
        ),
        (
            "words at odd elements",
            "reinterpret_cast<uintptr_t>(p.input) % 4 == 0",
            "reinterpret_cast<uintptr_t>(p.input) % 2 == 0",
        ),
        (
            "rows of two elements read as three",
            ": s.in_w >= 3;",
            ": s.in_w >= 2;",
        ),
        (
            "short rows read to three elements",
            "if (!kGuarded || n < reader.columns)",
            "if (true)",
        ),
        (
            "window beyond the row's end",
            "? 0 : in_w - kColumns;",
            "? 0 : in_w - kColumns + 1;",
        ),
        (
            "window of words at an odd element",
            "taps.at[0][0] / kElements * kElements",
            "taps.at[0][0]",
        ),
        (
            "one tap for two of the same column",
            "column += taps.at[0][q] - left == e ? taps.weight[0][q] : A(0);",
            "column = taps.at[0][q] - left == e ? taps.weight[0][q] : column;",
        ),
        (
            "NaN of no weight spreads",
            "if (result != result) {",
            "if (false) {",
        ),
        (
            "NaN that has a weight left out",
            "weight * (weight != A(0) ? value : A(0))",
            "weight * (value == value ? value : A(0))",
        ),
        (
            "row's address in 32 bits",
            "reader.at[r] = static_cast<Index>(taps.at[1][r]) * in_w + left;",
            "reader.at[r] = static_cast<int>(static_cast<unsigned>(taps.at[1][r]) * in_w) + left;",
        ),
        (
            "image's address in 32 bits",
            "const T* input = static_cast<const T*>(p.input) + (image * s.channels + first) "
            "* in_plane;",
            "const T* input = static_cast<const T*>(p.input) + static_cast<int>("
            "(image * s.channels + first) * in_plane);",
        ),
    ),
)
