"""Mistakes in the CUDA kernels of the backward."""

from __future__ import annotations

from ...engine.mutation import planted

FOLDER, COMMON = "csrc/srm/cuda", "csrc/common/cuda"

BACKWARD = (
    *planted(
        f"{COMMON}/held_channels.cuh",
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
        f"{FOLDER}/window.cuh",
        (
            "window not cleared where cells leave it",
            "for (int e = 0; e < kWindowVector<T>; ++e) window.grad[r][q][e] = 0;",
            "for (int e = 0; e < 0; ++e) window.grad[r][q][e] = 0;",
        ),
        (
            "column behind the border not clamped",
            "maps.grad_input + at_most(x, maps.in_w - 1) * maps.channels;",
            "maps.grad_input + x * maps.channels;",
        ),
        (
            "row behind the border not clamped",
            "at_most(cell_at(y, r), maps.in_h - 1)) * maps.in_w;\n      window.row",
            "cell_at(y, r)) * maps.in_w;\n      window.row",
        ),
        (
            "rows that leave are lost where no column does",
            "const int leaving = (columns >> q & 1) != 0 ? 7 : rows;",
            "const int leaving = (columns >> q & 1) != 0 ? 7 : 0;",
        ),
        (
            "rows that come in are not loaded",
            "const int entering = (columns >> q & 1) != 0 ? 7 : rows;",
            "const int entering = (columns >> q & 1) != 0 ? 7 : 0;",
        ),
        (
            "window stays for a third tap that it does not hold",
            "return static_cast<uint32_t>(first - begin) <= static_cast<uint32_t>(active >> 3);",
            "return static_cast<uint32_t>(first - begin) <= 1u;",
        ),
        ("taps not turned", "int place = taps.first % 3;", "int place = 0;"),
        ("window moves although it holds the taps", "active |= 1 << 3;", "active |= 0;"),
        (
            "what is not finite is spread to all taps",
            "if (not_finite(u) == A(0)) {",
            "if (not_finite(u) != A(1)) {",
        ),
        (
            "what is not finite is lost",
            "add_held(maps.grad_input + cell, held, part);",
            "",
        ),
        (
            "offset's gradient takes in what has no weight",
            "if (not_finite(d) == A(0)) return;",
            "return;",
        ),
        (
            "y's gradient with the slope of x's row",
            "d[1] += taps.slope[1][r] * along_y;\n  }",
            "d[1] += taps.slope[0][r] * along_y;\n  }",
        ),
    ),
    *planted(
        f"{FOLDER}/backward_window.cuh",
        ("last window not flushed", "if (last) empty_window(window, maps, held);", ""),
        (
            "window kept from one slab to the next",
            "const bool last = plan.slabs > 1 || left <= plan.batch;",
            "const bool last = left <= plan.batch;",
        ),
        (
            "window stays where only x does not fit",
            "if (inside && !(within_x && within_y)) {",
            "if (inside && !within_y) {",
        ),
        (
            "no barrier behind the runs",
            "runs[thread] = run;\n    }\n    __syncthreads();",
            "runs[thread] = run;\n    }",
            "barrier",
        ),
        (
            "no barrier before the next block's runs",
            "              sum);\n        }\n      }\n    }\n    __syncthreads();",
            "              sum);\n        }\n      }\n    }",
            "barrier",
        ),
        (
            "no barrier behind the taps",
            "dim, slots[slot]);\n        }\n      }\n      __syncthreads();",
            "dim, slots[slot]);\n        }\n      }",
            "barrier",
        ),
        ("second slab forgets the first", "if (slab > 0) {", "if (slab > 1) {"),
        (
            "gradient written behind a run's end",
            "if (begin + i < run.pixels) {",
            "if (begin + i <= run.pixels) {",
        ),
        ("pixel behind the run fetched", "if (i + 2 < count) {", "if (i + 1 < count) {"),
        (
            "second row of a strip below the map",
            "run.pair = run.y + 1 < s.out_h ? 1 : 0;",
            "run.pair = 1;",
        ),
        (
            "batch begins in the wrong row",
            "if ((begin & run.pair) != 0) advance();",
            "",
        ),
        (
            "no way back up",
            "step = run.pair != 0 ? channels - step : channels;",
            "step = channels;",
        ),
        (
            "last column of a row lost",
            "at_most(plan.run, s.out_w - run.x) << run.pair",
            "at_most(plan.run, s.out_w - run.x - 1) << run.pair",
        ),
        (
            "x and y of the gradient swapped",
            "partial[2 * i + dim][slot_group",
            "partial[2 * i + 1 - dim][slot_group",
        ),
    ),
    *planted(
        f"{FOLDER}/backward_planes.cuh",
        (
            "no barrier before the groups' sums",
            "partial[1][group][lane] = dy;\n    __syncthreads();",
            "partial[1][group][lane] = dy;",
            "barrier",
        ),
        (
            "plane behind the last one summed",
            "there[n] = c + n * kPlaneGroups < s.channels;",
            "there[n] = true;",
        ),
        (
            "plane behind the last one read",
            "const bool more = c + (n + 1) * kPlaneGroups < s.channels;",
            "const bool more = true;",
        ),
        (
            "three cells where there are fewer",
            "const bool small = s.in_h < 3 || s.in_w < 3;",
            "const bool small = false;",
        ),
        (
            "cells that the border makes one are kept apart",
            "const int place = at_most(taps.first + r, size - 1) - moved.first;",
            "const int place = taps.first + r - moved.first;",
        ),
        (
            "three cells behind the border",
            "Taps<A> moved = {at_most(taps.first, size - 3),",
            "Taps<A> moved = {at_most(taps.first, size - 2),",
        ),
        (
            "values that take no part are summed",
            "if (small || dx - dx + (dy - dy) != A(0)) {",
            "if (small) {",
        ),
        (
            "values of taps that take no part are read",
            "return part(r) ? r : part(0) ? 0 : part(1) ? 1 : 2;",
            "return r;",
        ),
    ),
    *planted(
        f"{FOLDER}/scatter_planes.cuh",
        (
            "planes behind the last channel staged",
            "row + r < rows && column < columns && c < count;",
            "row + r < rows && column < columns;",
        ),
        (
            "columns behind the tile staged",
            "row + r < rows && column < columns && c < count;",
            "row + r < rows && c < count;",
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
            "no warp barrier before the staging",
            "          __syncwarp();\n          A* const stage",
            "          A* const stage",
            "barrier",
        ),
        (
            "no warp barrier behind the staging",
            "          __syncwarp();\n          const bool more",
            "          const bool more",
            "barrier",
        ),
        (
            "no barrier behind the taps",
            "tile_x, tile_y, plan);\n    }\n    __syncthreads();",
            "tile_x, tile_y, plan);\n    }",
            "barrier",
        ),
        (
            "what leaves the tile is lost",
            "atomicAdd(grad + (lane * in_plane + cell), weight * u);",
            "",
        ),
        (
            "lanes without a channel add what leaves the tile",
            "if (lane >= count) continue;",
            "",
        ),
        (
            "taps behind the tile taken for inside",
            "turn_x + 2 < plan.cells_x && turn_y >= 0 && turn_y + 2 < plan.cells_y;",
            "turn_x + 2 <= plan.cells_x && turn_y >= 0 && turn_y + 2 < plan.cells_y;",
        ),
        (
            "taps above the tile taken for inside",
            "turn_y >= 0 && turn_y + 2 < plan.cells_y;",
            "turn_y + 2 < plan.cells_y;",
        ),
        (
            "cell of the tile not clamped to the border",
            "at_most(tile_x + column, s.in_w - 1));",
            "(tile_x + column));",
        ),
        (
            "last window not added to the tile",
            "if (window.first != kNoWindow) leave(window, mine);\n      __syncwarp",
            "__syncwarp",
        ),
        (
            "window stays although its third tap is missing",
            "from + 0x00020002u - static_cast<uint32_t>(last)",
            "from + 0x00030003u - static_cast<uint32_t>(last)",
        ),
        ("window moves although it holds the taps", "if (missing == 0) return;", ""),
        (
            "column that leaves is added at the next one's place",
            "if (window.turn == q) leave_column(window, cells, q, 0);",
            "if (window.turn == q) leave_column(window, cells, q, kCellRow);",
        ),
        (
            "what is not finite is spread to all taps",
            "if (u - u == A(0)) {",
            "if (u - u != A(1)) {",
        ),
        ("third tap never counts as taking part", "(tx.weight[2] != A(0) ? 2 : 1);", "1;"),
        (
            "row of two taken for one",
            "const int pair = row + 1 < rows ? 1 : 0;",
            "const int pair = 1;",
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
        f"{COMMON}/fill.cuh",
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
