"""Mistakes in the depthwise units' CPU kernels that people make, or that a test might overlook."""

from __future__ import annotations

from ...engine.mutation import planted
from .chosen_backward import BACKWARD, FOLDER

CHOSEN = (
    *planted(
        f"{FOLDER}/blocks.h",
        (
            "the last block of columns left out",
            "for (; first < count; first += 4) body",
            "for (; first + 4 < count; first += 4) body",
        ),
        (
            "columns that are no whole block left out",
            "return (columns + 3) / 4 * 4;",
            "return columns / 4 * 4;",
        ),
        (
            "negative rows in no slot",
            "return static_cast<int>(rest < 0 ? rest + rows : rest);",
            "return static_cast<int>(rest < 0 ? -rest : rest);",
        ),
        (
            "a window that does not move",
            "window[i % kOut] = load(at(i));",
            "window[i % kOut] = load(at(i % kOut));",
        ),
        (
            "a window that is a register wider",
            "window[(k * kApart + i) % kOut], acc[i]);",
            "window[(k * kApart + i + 1) % kOut], acc[i]);",
        ),
        (
            "every dilation is three",
            "if (dilation == 3) return",
            "if (dilation >= 3) return",
        ),
        (
            "the dilated kernel's columns lie side by side",
            "add_taps<kOut, A>(acc, weights, source, kDilated, dilation * kLanes<A>);",
            "add_taps<kOut, A>(acc, weights, source, kDilated, kLanes<A>);",
        ),
        (
            "a strip of 21 taps ends after 11",
            "return add(Count<21>{});",
            "return add(Count<11>{});",
        ),
        (
            "a column is its first row at every tap",
            "const A* source = pinned(rows[k + r] + offset);",
            "const A* source = pinned(rows[r] + offset);",
        ),
        (
            "addresses of rows go on behind the ring's end",
            "if (++next == rows) next = 0;",
            "++next;",
        ),
        (
            "the last row of a step left out",
            "for (int r = 0; r < rows; ++r) body(Count<1>{}, size, r, column);",
            "for (int r = 0; r + 1 < rows; ++r) body(Count<1>{}, size, r, column);",
        ),
        (
            "columns left of the image are not cleared",
            "for (int x = from; x < to && x0 + x < 0; ++x)",
            "for (int x = from; x < to && x0 + x < from; ++x)",
        ),
        (
            "the first column right of the image is not cleared",
            "x >= from && x0 + x >= width; --x)",
            "x >= from && x0 + x > width; --x)",
        ),
    ),
    *planted(
        f"{FOLDER}/rows.h",
        (
            "the first row below the image is read",
            "if (y < 0 || y >= s.height) return ring.clear(y);",
            "if (y < 0 || y > s.height) return ring.clear(y);",
        ),
        (
            "the map of the first image",
            "? map + ((b * s.height + y) * s.width + x) * s.channels + c",
            "? map + (y * s.width + x) * s.channels + c",
        ),
        (
            "one channel too many where a register has a tail",
            "target[c] = c < channels ? widen(source[c]) : A(0);",
            "target[c] = c <= channels ? widen(source[c]) : A(0);",
        ),
        (
            "only the first image's planes",
            ": map + ((b * s.channels + c) * s.height + y) * s.width + x;",
            ": map + (c * s.height + y) * s.width + x;",
        ),
        (
            "a whole block of planes is written where there are fewer",
            "for (int c = 0; c < 8 && c < channels; ++c) store8",
            "for (int c = 0; c < 8; ++c) store8",
        ),
        (
            "the second register of a group is the first",
            "put(target + sub * kLanes<A>, load(source + sub * ring.part()), streams);",
            "put(target + sub * kLanes<A>, load(source), streams);",
        ),
        (
            "the weights of the first channels for all",
            "const int64_t taps = taps_of(s), first = c0 * taps;",
            "const int64_t taps = taps_of(s), first = 0 * c0;",
        ),
        (
            "columns' weights for rows",
            "row[i] = next;",
            "row[i] = next + length[i] + 1;",
        ),
    ),
    *planted(
        f"{FOLDER}/gelu.h",
        ("the slope without the density", "return fma(x, n.density, n.below);", "return n.below;"),
        (
            "GELU is the identity a little too soon",
            "constexpr float kEnd = 5.4f;",
            "constexpr float kEnd = 2.4f;",
        ),
        (
            "four columns for all in GELU",
            "size[i] = magnitude(x[first + i]);",
            "size[i] = magnitude(x[i]);",
        ),
        (
            "no end of GELU's pieces",
            "const Value<A> inside = smaller(broadcast(kEnd), size[i]);",
            "const Value<A> inside = size[i];",
        ),
        (
            "pieces of GELU from their beginning",
            "fma(inside, broadcast(1 / kPiece), broadcast(kRound));",
            "fma(inside, broadcast(0.9f / kPiece), broadcast(kRound));",
        ),
        (
            "the tail on the wrong side",
            "return {x < 0.0f ? tail : 1.0f - tail",
            "return {x > 0.0f ? tail : 1.0f - tail",
        ),
        (
            "a density that is too wide",
            "__builtin_exp(-0.5 * x[i] * x[i])",
            "__builtin_exp(-0.25 * x[i] * x[i])",
        ),
    ),
    *planted(
        f"{FOLDER}/gelu_table.cpp",
        ("a cubic of the wrong sign", "density * (x * x - 1) / 6", "density * (1 - x * x) / 6"),
        ("the last piece is none", "table[kGeluPieces - 1] = 0.5f;", ""),
    ),
    *planted(
        f"{FOLDER}/strip_rows.h",
        (
            "the intermediate map is not zero outside the image",
            "target.first + target.columns, x0, s.width);",
            "target.first, x0, s.width);",
        ),
        (
            "rows of the first convolution below the image",
            "if (next_row < 0 || next_row >= s.height) {",
            "if (next_row < 0) {",
        ),
        (
            "a row of the input too few for the first convolution",
            "for (; next_input <= next_row + layout.edge / 2; ++next_input)",
            "for (; next_input < next_row + layout.edge / 2; ++next_input)",
        ),
        (
            "the dilated kernel's rows lie side by side",
            "source.at(y0 + r - layout.reach + i * s.dilation, sub, source.first);",
            "source.at(y0 + r - layout.reach + i, sub, source.first);",
        ),
        (
            "rows that no dilated row starts with left out",
            "for (int first = 0; first < rows && first < s.dilation; ++first)",
            "for (int first = 0; first < rows && first < 2; ++first)",
        ),
        (
            "a row of a strip outside the image has its bias",
            "if (y < 0 || y >= s.height) return target.clear(y);",
            "if (y < -100 || y >= s.height) return target.clear(y);",
        ),
        (
            "no bias of the rows",
            "fill<kOut, A>(acc, load(w + layout.length[i] * kLanes<A>));",
            "fill<kOut, A>(acc, Value<A>{});",
        ),
        (
            "the strips' rows end a row early",
            "for (; next_row[i] < y0 + rows + layout.radius[i]; ++next_row[i])",
            "for (; next_row[i] < y0 + rows + layout.radius[i] - 1; ++next_row[i])",
        ),
        (
            "a ring of rows a row short",
            "row[i] = {nullptr, kStep + 2 * layout.radius[i], columns, 0, subs};",
            "row[i] = {nullptr, kStep + 2 * layout.radius[i] - 1, columns, 0, subs};",
        ),
    ),
    *planted(
        f"{FOLDER}/forward.h",
        (
            "a column bias left out",
            "bias += load(w + layout.column_bias[i] * kLanes<A>);",
            "bias = load(w + layout.column_bias[i] * kLanes<A>);",
        ),
        (
            "without the local convolution in the sum",
            "acc[k * kOut + i] = bias + load(from + i * kLanes<A>);",
            "acc[k * kOut + i] = bias + 0 * load(from + i * kLanes<A>);",
        ),
        (
            "a pixel's registers are written over its first",
            "put_columns<kOut, S, A>(row + sub * kLanes<A>,",
            "put_columns<kOut, S, A>(row,",
        ),
        (
            "rows below the image are written",
            "} else if (r + k < rows) {",
            "} else {",
        ),
        (
            "rows of a step have the first one's local map",
            "const A* from = pinned(local[r + k] + at);",
            "const A* from = pinned(local[0] + at);",
        ),
        (
            "the convolution in front of GELU has no bias",
            "fill<kOut, A>(acc, load(w + layout.bias * kLanes<A>));\n#pragma",
            "fill<kOut, A>(acc, Value<A>{});\n#pragma",
        ),
        (
            "columns beyond a tile's are written",
            "if (column + kOut > width) {",
            "if (column + kOut > width + 3) {",
        ),
        (
            "the last columns of a tile left out",
            "for (int i = 0; column + i < width; ++i) put(",
            "for (int i = 0; column + i + 1 < width; ++i) put(",
        ),
        (
            "a convolution of 7x7 in front of GELU is of 5x5",
            "gelu_tile<7, S, A>(plan, tile);",
            "gelu_tile<5, S, A>(plan, tile);",
        ),
        (
            "a tile's channels are the first group's",
            "tile.c0 = task % groups * group;",
            "tile.c0 = 0 * group;",
        ),
        (
            "the last tile is as wide as the others",
            "tile.width = s.width - tile.x0 < tile_width ?",
            "tile.width = s.width - tile.x0 < 0 ?",
        ),
    ),
    *BACKWARD,
    *planted(
        f"{FOLDER}/launch.cpp",
        (
            "GELU in place in several tiles",
            "      plan.tile_width = s.width;\n",
            "",
        ),
        (
            "the last tile left out",
            "  plan.tiles = ceil_div(s.width, plan.tile_width);\n  plan.streams = w",
            "  plan.tiles = s.width / plan.tile_width;\n  plan.streams = w",
        ),
        (
            "lines that are not aligned are streamed",
            "reinterpret_cast<uintptr_t>(output) % 64 == 0;",
            "output != nullptr;",
        ),
        (
            "a workspace for the channels without their padding",
            "plan.padded_channels = ceil_div(s.channels, 16) * 16;",
            "plan.padded_channels = s.channels;",
        ),
        (
            "a workspace for one image",
            "*bytes = sizeof(double) * s.batch * plan.tiles",
            "*bytes = sizeof(double) * plan.tiles",
        ),
    ),
)
