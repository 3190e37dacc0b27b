"""Mistakes in the CUDA kernels of the backward."""

from __future__ import annotations

from .mutation import planted

FOLDER = "csrc/srm/cuda"

BACKWARD = (
    *planted(
        f"{FOLDER}/held_channels.cuh",
        (
            "vectors behind the last channel read",
            "return held.first < held.end ? load_packed<V>(pixel + held.first) : "
            "packed_zeros<T, V>();",
            "return load_packed<V>(pixel + held.first);",
        ),
        (
            "channel remainder dropped from the store",
            "if (c < held.end) pixel[c] = narrow<T>(value[e]);",
            "if (c < held.end / V * V) pixel[c] = narrow<T>(value[e]);",
        ),
        (
            "stride of unaligned channels",
            "start + holder * (aligned ? V : 1), aligned ? 1 : holders,",
            "start + holder * (aligned ? V : 1), 1,",
        ),
    ),
    *planted(
        f"{FOLDER}/backward_window.cuh",
        ("last window not flushed", "if (end && !last) break;", "if (end) break;"),
        (
            "window not cleared when it moves",
            "for (int e = 0; e < kWindowVector<T>; ++e) window.grad[r][q][e] = 0;\n      }\n"
            "      if (input",
            "for (int e = 0; e < 0; ++e) window.grad[r][q][e] = 0;\n      }\n      if (input",
        ),
        (
            "window stays where only x moves",
            "if (y == window.y && x == window.x) return;",
            "if (y == window.y) return;",
        ),
        (
            "no barrier behind the runs' starts",
            "line) : -1;\n    }\n    __syncthreads();",
            "line) : -1;\n    }",
            "barrier",
        ),
        (
            "no barrier before the next block's starts",
            "              sum);\n        }\n      }\n    }\n    __syncthreads();",
            "              sum);\n        }\n      }\n    }",
            "barrier",
        ),
        (
            "taps not turned",
            "keep_taps(taps, weights[dim][slot], slopes[dim][slot], taps.first % 3);",
            "keep_taps(taps, weights[dim][slot], slopes[dim][slot]);",
        ),
        ("second slab forgets the first", "if (slab > 0) {", "if (slab > 1) {"),
        (
            "gradient written behind a row's end",
            "slot_x < s.out_w && begin + i < plan.run",
            "begin + i < plan.run",
        ),
        (
            "pixel behind the run fetched",
            "if (i + 1 < count) {\n            pixel += channels;",
            "if (i < count) {\n            pixel += channels;",
        ),
        (
            "x and y of the gradient swapped",
            "partial[2 * i + dim][slot_group",
            "partial[2 * i + 1 - dim][slot_group",
        ),
        (
            "y's gradient with the weight of x's row",
            "dy += sy.slope[r] * tx.weight[q] * dot;",
            "dy += sy.slope[r] * ty.weight[r] * dot;",
        ),
    ),
    *planted(
        f"{FOLDER}/backward_planes.cuh",
        (
            "planes behind the last channel staged",
            "column < staged && c < count ?",
            "column < staged ?",
        ),
        (
            "tile flushed without atomics",
            "if (value != A(0)) atomicAdd(place, value);",
            "if (value != A(0)) *place += value;",
            "atomic",
        ),
        (
            "no warp barrier before the tile is flushed",
            "      __syncwarp();\n      for (int cell = lane;",
            "      for (int cell = lane;",
            "barrier",
        ),
        (
            "no warp barrier behind the staging",
            "          __syncwarp();\n          for (int i = 0; i < staged; ++i) {",
            "          for (int i = 0; i < staged; ++i) {",
            "barrier",
        ),
        (
            "what leaves the tile is lost",
            "atomicAdd(tile.grad + (static_cast<Index>(row) * tile.in_w + column), value);",
            "",
        ),
        (
            "cell not clamped to the border",
            "const int row = at_most(cell_y, tile.in_h - 1),",
            "const int row = cell_y,",
        ),
        (
            "last window not flushed",
            "CellTile<A, Index>::add(target, cell_at(base_y, r), cell_at(base_x, q), sums[r][q]);",
            "",
        ),
        (
            "no barrier before the groups' sums",
            "partial[1][group][lane] = dy;\n    __syncthreads();",
            "partial[1][group][lane] = dy;",
            "barrier",
        ),
        (
            "values of taps that take no part are read",
            "const int cell_x = (sx.active >> r & 1) != 0 ? r : (sx.active & 1) != 0 ? 0 : 1;",
            "const int cell_x = r;",
        ),
    ),
    *planted(
        f"{FOLDER}/pixel_lists.cuh",
        (
            "pixels listed in the order of the threads",
            "if (valid) place = places[warp][digit] + rank;\n"
            "      __syncwarp();\n"
            "      if (valid) {\n"
            "        if (rank == 0) places[warp][digit] += population(alike);",
            "if (valid) place = atomicAdd(reinterpret_cast<int*>(&places[warp][digit]), 1);\n"
            "      __syncwarp();\n"
            "      if (valid) {",
        ),
        (
            "scan forgets the tiles before",
            "histogram[row * tiles + tile] = carry + before;",
            "histogram[row * tiles + tile] = before;",
        ),
        (
            "key of the points outside collides",
            "for (int64_t rest = lists.cells; rest > 0;",
            "for (int64_t rest = lists.cells - 1; rest > 0;",
        ),
        (
            "warps' places in the wrong order",
            "places[w][digit] = place;\n        place += counts[w][digit];",
            "place += counts[w][digit];\n        places[w][digit] = place;",
        ),
        (
            "last pixel of the list never ends its cell",
            "if (at + 1 == pixels || sorted[at + 1] != key)",
            "if (at + 1 < pixels && sorted[at + 1] != key)",
        ),
        (
            "no warp barrier between reading and moving the places",
            "+ rank;\n      __syncwarp();",
            "+ rank;",
            "barrier",
        ),
    ),
    *planted(
        f"{FOLDER}/backward_gather.cuh",
        (
            "cells behind the border lost",
            "if (at_most(taps.first + r, last) == cell) sum",
            "if (taps.first + r == cell) sum",
        ),
        (
            "cells of the row above mixed in",
            "if (x - back < 0) continue;",
            "",
        ),
        (
            "units of several cells taken for one",
            "keys[first] != keys[first + kUnit - 1] || c >= channels",
            "c >= channels",
        ),
        (
            "unit of several cells read as if of one",
            "return at % kUnit == 0 && end - at >= kUnit && keys[at] == keys[at + kUnit - 1];",
            "return at % kUnit == 0 && end - at >= kUnit;",
        ),
        (
            "unit's sums not clamped to the border",
            "if (at_most(base_y + r, last_y) != y) continue;",
            "if (base_y + r != y) continue;",
        ),
        (
            "pixels behind the list's end summed",
            "factor[j] = i + j < count ? shared_weight : A(0);",
            "factor[j] = shared_weight;",
        ),
    ),
    *planted(
        f"{FOLDER}/fill.cuh",
        ("zeros stop before the tail", "i < bytes; i += threads * 2", "i < done; i += threads * 2"),
        ("cast stops before the tail", "i < count; i += threads)", "i < done; i += threads)"),
        ("zeros pass the end", "done = bytes / 16 * 16;", "done = (bytes + 15) / 16 * 16;"),
    ),
    *planted(
        f"{FOLDER}/sample_backward.cuh",
        (
            "workspace of the wrong type's size",
            "static_cast<size_t>(elements) * sizeof(A);",
            "static_cast<size_t>(elements) * sizeof(T);",
        ),
        (
            "sums only zeroed in part",
            "launch_zero(sums, elements * static_cast<int64_t>(sizeof(A)), stream, options);",
            "launch_zero(sums, elements * static_cast<int64_t>(sizeof(A)) / 2, stream, options);",
        ),
        (
            "empty inputs leave the gradient as it was",
            "if (error == 0 && params.grad_input != nullptr) {",
            "if (error != 0 && params.grad_input != nullptr) {",
        ),
    ),
)
