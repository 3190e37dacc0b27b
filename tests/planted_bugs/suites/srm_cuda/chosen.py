"""Mistakes in the CUDA kernels that people make, or that a test might overlook."""

from __future__ import annotations

from ...engine.mutation import planted
from .chosen_backward import BACKWARD
from .chosen_forward import FORWARD

FOLDER, COMMON = "csrc/srm/cuda", "csrc/common/cuda"

CHOSEN = (
    *planted(
        f"{FOLDER}/aggregate.cuh",
        (
            "last pixel left out",
            "if (flat >= pixels) continue;",
            "if (flat >= pixels - 1) continue;",
        ),
        (
            "border of the tile not shifted in x",
            "x = x0 + i % kGradHaloX - 1;",
            "x = x0 + i % kGradHaloX;",
        ),
        (
            "left border not padded with zero",
            "if (y >= 0 && y < p.height && x >= 0 && x < p.width) {",
            "if (y >= 0 && y < p.height && x < p.width) {",
        ),
        (
            "no barrier after the tile is loaded",
            "    __syncthreads();\n\n    const int row",
            "\n    const int row",
            "barrier",
        ),
        (
            "neighbours transposed",
            "here + (k / 3 - 1) * kGradHaloX + k % 3 - 1;",
            "here + (k % 3 - 1) * kGradHaloX + k / 3 - 1;",
        ),
        (
            "softmax Jacobian without the mean",
            "mask[k][here] * (value[k] - mean)",
            "mask[k][here] * value[k]",
        ),
        (
            "offset's gradient gathered from the wrong side",
            "here - (k / 3 - 1) * kGradHaloX - (k % 3 - 1)",
            "here + (k / 3 - 1) * kGradHaloX + (k % 3 - 1)",
        ),
    ),
    *planted(
        f"{FOLDER}/common.cuh",
        (
            "softmax may overflow",
            "top = v[k] > top ? v[k] : top;",
            "top = A(0);",
        ),
        ("row below the map read", "y + dy < height", "y + dy <= height"),
        (
            "taps that have a slope but no weight left out",
            "if (taps.weight[r] != A(0) || taps.slope[r] != A(0)) active |= 1 << place;",
            "if (taps.weight[r] != A(0)) active |= 1 << place;",
        ),
        (
            "x and y swapped in the taps",
            "return sample_taps(shape.upsample, is_x ? x : y, offset,",
            "return sample_taps(shape.upsample, is_x ? y : x, offset,",
        ),
        (
            "x's ratio for both dimensions",
            "const Ratio ratio = is_x ? shape.ratio_x : shape.ratio_y;",
            "const Ratio ratio = shape.ratio_x;",
        ),
        (
            "window's cell off by a turn",
            "return first + (ahead < 0 ? ahead + 3 : ahead);",
            "return first + ahead;",
        ),
    ),
    *planted(
        f"{COMMON}/launch.cuh",
        (
            "32-bit indices beyond 2^31 elements",
            "return elements <= INT64_C(0x7fff0000);",
            "return elements <= INT64_C(0x7ffffffff);",
        ),
    ),
    *planted(
        f"{COMMON}/vec.cuh",
        (
            "halves of a pair swapped",
            "__floats2half2_rn(in[e], in[e + 1])",
            "__floats2half2_rn(in[e + 1], in[e])",
        ),
        (
            "bfloat16 truncated, not rounded",
            "return __float2bfloat16_rn(static_cast<float>(value));",
            "return __float2bfloat16_rz(static_cast<float>(value));",
        ),
        (
            "words of a double swapped",
            "const uint64_t high = words.word[2 * e + 1];\n"
            "      out[e] = bits<double>(high << 32 | words.word[2 * e]);",
            "const uint64_t high = words.word[2 * e];\n"
            "      out[e] = bits<double>(high << 32 | words.word[2 * e + 1]);",
        ),
    ),
    *planted(
        f"{COMMON}/atomics.cuh",
        (
            "fp32 sums without atomics",
            "for (int i = 0; i < N; ++i) atomicAdd(target + i, value[i]);\n#endif",
            "for (int i = 0; i < N; ++i) target[i] += value[i];\n#endif",
            "atomic",
        ),
    ),
    *planted(
        "csrc/srm/taps.h",
        (
            "half-pixel shift forgotten",
            "return {2 * in_size, in_size - out_size, 2 * out_size};",
            "return {2 * in_size, 0, 2 * out_size};",
        ),
        (
            "corners of align_corners off",
            "Ratio{in_size - 1, 0, out_size - 1}",
            "Ratio{in_size, 0, out_size}",
        ),
        (
            "NaN is inside the upsampled map",
            "if (!(offset >= static_cast<T>(-1 - index) && "
            "offset < static_cast<T>(out_size - index))) {",
            "if (offset < static_cast<T>(-1 - index) || "
            "offset >= static_cast<T>(out_size - index)) {",
        ),
        (
            "points at -1 are outside the upsampled map",
            "if (!(offset >= static_cast<T>(-1 - index) &&",
            "if (!(offset > static_cast<T>(-1 - index) &&",
        ),
        (
            "a point at W is inside the input",
            "shift < static_cast<T>(in_size - base)",
            "shift <= static_cast<T>(in_size - base)",
        ),
        (
            "border of the upsampled map replicated, not zero",
            "const T high = reaches(cell + 1, out_size) ? T(1) : T(0);",
            "const T high = T(1);",
        ),
        (
            "first row of the upsampling extrapolated",
            "if (remainder1 < 0) remainder1 = 0;",
            "",
        ),
        (
            "slope without the resampling's factor",
            "taps.slope[0] = -scale * low;",
            "taps.slope[0] = -low;",
        ),
        (
            "slope's sign",
            "taps.slope[0] = -low * (T(1) - part0)",
            "taps.slope[0] = low * (T(1) - part0)",
        ),
        (
            "fraction from the rounded sum of index and offset",
            "const T fraction = offset - whole;\n"
            "  const int32_t cell = index + static_cast<int32_t>(whole);",
            "const T at = static_cast<T>(index), fraction = (at + offset) - (at + whole);\n"
            "  const int32_t cell = index + static_cast<int32_t>(whole);",
        ),
    ),
    *FORWARD,
    *BACKWARD,
)
