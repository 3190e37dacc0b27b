"""Mistakes in the CPU kernels that people make, or that a test might overlook."""

from __future__ import annotations

from ...engine.mutation import planted

FOLDER, COMMON = "csrc/srm/cpu", "csrc/common/cpu"

FORWARD = (
    *planted(
        f"{FOLDER}/forward_planes.h",
        (
            "a tap without weight is read, which may lie beyond the map",
            "if (weight != 0) sum += widen(",
            "sum += widen(",
        ),
        (
            "the window a row short",
            "const int64_t last_y = high_y + 2 < shape.in_h ? high_y + 2 : shape.in_h - 1;",
            "const int64_t last_y = high_y + 1 < shape.in_h ? high_y + 1 : shape.in_h - 1;",
        ),
        (
            "columns beyond the window",
            "taps.x[i] + (taps.pattern[i] & 3) <= window.x.end;",
            "taps.x[i] <= window.x.end;",
        ),
        (
            "pixels outside the map are not cleared",
            "n < order.start[1]; ++n) {\n    memset",
            "n < order.start[0]; ++n) {\n    memset",
        ),
        (
            "rows of a tile joined where it is narrower than the output",
            "const bool joined = tile.columns == shape.out_w;",
            "const bool joined = true;",
        ),
        ("a slab of 16 for 24 channels", "if (left > 16) {", "if (left > 24) {"),
        (
            "every row of a group is the first",
            "planes + c * plane + r * tile.columns, skip",
            "planes + c * plane, skip",
        ),
        (
            "the input of the first image",
            "(tile.b * shape.channels + c0) * in_plane",
            "c0 * in_plane",
        ),
    ),
    *planted(
        f"{FOLDER}/forward_pixel.h",
        (
            "a last channel alone left out",
            "if (c < channels) {",
            "if (c + 1 < channels) {",
        ),
        (
            "a whole register behind the last channel",
            "(g, channels - kStep, w, skip",
            "(g, c, w, skip",
        ),
        (
            "few channels without the skip",
            "if constexpr (kSkip) sum = widen(skip[c]);",
            "if constexpr (kSkip) sum = 0;",
        ),
    ),
    *planted(
        f"{FOLDER}/forward.h",
        (
            "x and y of a given offset exchanged",
            "load_row(p.offset_dtype, p.offset, index_x, count, offset_x);",
            "load_row(p.offset_dtype, p.offset, index_y, count, offset_x);",
        ),
        (
            "the aggregated x stored for y",
            "+ index_y, offset_y, sizeof(A) * count);",
            "+ index_y, offset_x, sizeof(A) * count);",
        ),
        (
            "a whole register of fewer channels",
            "if (pattern == 0 || channels < kLanes<A>) {",
            "if (pattern == 0) {",
        ),
    ),
    *planted(
        f"{FOLDER}/patterns.h",
        (
            "far pixels left out",
            "order.start[kPatterns] = static_cast<uint8_t>(count);",
            "order.start[kPatterns] = order.start[kPatterns - 1];",
        ),
    ),
)

AGGREGATION = (
    *planted(
        f"{FOLDER}/rows.h",
        (
            "the softmax may overflow",
            "v[k] = exp_negative(v[k] - top);",
            "v[k] = exp_negative(v[k]);",
        ),
        (
            "the left border is not zero",
            "if (first != target) target[0] = 0;",
            "if (first == target) target[0] = 0;",
        ),
        (
            "the right border is not zero",
            "if (first + loaded != target + count + 2) first[loaded] = 0;",
            "if (first + loaded == target + count + 2) first[loaded] = 0;",
        ),
        (
            "the row below the image is read",
            "if (y < 0 || y >= height) {",
            "if (y < 0 || y > height) {",
        ),
        (
            "the last pixels of a row without the skip",
            "if constexpr (kSkip) sum += widen(skip[i]);",
            "if constexpr (kSkip) sum += 0;",
        ),
    ),
    *planted(
        f"{FOLDER}/aggregate.h",
        (
            "the neighbour for the pixel whose neighbour it is",
            "const SourceRow<A>& row = *rows[2 - k / 3];",
            "const SourceRow<A>& row = *rows[k / 3];",
        ),
        (
            "gradient of the softmax without the mean",
            "* (grad[k] - mean) : grad[k]",
            "* grad[k] : grad[k]",
        ),
        (
            "the row below a band is zero",
            "load_source_row(p, b, y + 1, x0,",
            "load_source_row(p, b, y + 1 < y1 ? y + 1 : p.height, x0,",
        ),
    ),
    *planted(
        f"{COMMON}/exp.h",
        (
            "exponents that float32 cannot hold",
            "return x < -87.0f ? Value<float>{} : result;",
            "return result;",
        ),
    ),
)

BACKWARD = (
    *planted(
        f"{FOLDER}/backward.h",
        (
            "a chunk is one row",
            "const int64_t row_end = i + (shape.out_w - x);",
            "const int64_t row_end = count + 0 * x;",
        ),
        (
            "points whose taps have slopes alone left out",
            "pattern_of<A>(slope_count(ty), slope_count(tx))",
            "pattern_of<A>(weight_count(ty), weight_count(tx))",
        ),
        (
            "sums start from what was in memory",
            "memset(target, 0, sizeof(A) * in_pixels * kSlab);",
            "memset(target, 0, sizeof(A) * in_pixels);",
        ),
        (
            "channels behind the last are not zero",
            "for (int c = channels; c < kSlab; ++c) target[i * kSlab + c] = 0;",
            "for (int c = channels + 1; c < kSlab; ++c) target[i * kSlab + c] = 0;",
        ),
        ("parts half as far apart", "part += 2 * out_pixels;", "part += out_pixels;"),
        (
            "the incoming gradient of the first image",
            "static_cast<const S*>(p.grad_output) + b * shape.channels * out_pixels",
            "static_cast<const S*>(p.grad_output)",
        ),
    ),
    *planted(
        f"{FOLDER}/backward_pixel.h",
        (
            "weights for slopes in y",
            "sum_y = fma(by_weight, broadcast<A>(taps.slope_y[r][i]), sum_y);",
            "sum_y = fma(by_weight, broadcast<A>(taps.weight_y[r][i]), sum_y);",
        ),
        (
            "every column has the first one's weight",
            "wy * broadcast<A>(taps.weight_x[s][i])",
            "wy * broadcast<A>(taps.weight_x[0][i])",
        ),
    ),
    *planted(
        f"{FOLDER}/launch.cpp",
        (
            "streams to what is no whole line",
            "return bytes >= kStreamedBytes && run % 64 == 0 &&",
            "return bytes >= kStreamedBytes && run % 4 == 0 &&",
        ),
        (
            "half of an empty sum's gradient cleared",
            "size_of(params.offset_dtype) * s.batch * 2 * out_pixels",
            "size_of(params.offset_dtype) * s.batch * out_pixels",
        ),
        (
            "too small a workspace for the parts",
            "arena.take(real * s.batch * plan.slabs * 2 * out_pixels)",
            "arena.take(real * s.batch * plan.slabs * out_pixels)",
        ),
    ),
)

GEOMETRY = (
    *planted(
        f"{FOLDER}/chunk_taps.h",
        (
            "a cell at the upper border reaches beyond it",
            "high = (cell < last) & inside;",
            "high = (cell <= last) & inside;",
        ),
        (
            "a cell in front of the map is its first tap",
            "taps.first = low ? cell : Index<A>{};",
            "taps.first = cell;",
        ),
        (
            "slopes in units of the input",
            "taps.slope[0] = low ? -scale : right_slope;",
            "taps.slope[0] = low ? -one : right_slope;",
        ),
        (
            "a leading tap without weight ends the pattern",
            "return -((t0 | t1 | t2) + (t1 | t2) + t2);",
            "return -(t0 + (t1 | t2) + t2);",
        ),
    ),
    *planted(
        f"{FOLDER}/tables.cpp",
        ("direct cells not shifted back", "first_[i] -= 1;", "first_[i] -= 0;"),
        (
            "a share beyond the border",
            "const double share = end_first < last ?",
            "const double share = end_first <= last ?",
        ),
    ),
    *planted(
        "csrc/srm/taps.h",
        (
            "the fraction of the first cell lost",
            "if (n0 > 0) divide(n0, ratio.den, first, remainder0);",
            "if (n0 >= ratio.den) divide(n0, ratio.den, first, remainder0);",
        ),
        (
            "the border is not replicated",
            "if (remainder1 < 0) remainder1 = 0;",
            "if (remainder1 < -1) remainder1 = 0;",
        ),
    ),
)

REGISTERS = (
    *planted(
        f"{COMMON}/transpose.h",
        (
            "halves of a transposed block exchanged",
            "quad[i], quad[i + 4], 0x31",
            "quad[i], quad[i + 4], 0x13",
        ),
        (
            "channels behind the last read by registers",
            "v[c] = c < channels ? load8(planes + c * plane) : Float8{};",
            "v[c] = load8(planes + c * plane);",
        ),
        (
            "channels behind the last read one by one",
            "to[i * stride + k] = k < left ? widen(from[k * plane + i]) : A(0);",
            "to[i * stride + k] = widen(from[k * plane + i]);",
        ),
    ),
    *planted(
        f"{COMMON}/vec.h",
        (
            "registers of bfloat16 truncated",
            "const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;",
            "const Bits rounded = bits >> 16;",
        ),
        (
            "single bfloat16 truncated",
            "nan ? 0x7fc0u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16",
            "nan ? 0x7fc0u : bits >> 16",
        ),
    ),
    *planted(
        f"{COMMON}/rows.h",
        (
            "the last element of a row is not written",
            "for (; i < count; ++i) narrow(source[i], target[i]);",
            "for (; i + 1 < count; ++i) narrow(source[i], target[i]);",
        ),
    ),
)

CHOSEN = (*FORWARD, *AGGREGATION, *BACKWARD, *GEOMETRY, *REGISTERS)
