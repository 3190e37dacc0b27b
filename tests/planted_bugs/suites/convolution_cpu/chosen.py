"""Mistakes in the convolution's CPU kernel that people make, or that a test might overlook."""

from __future__ import annotations

from ...engine.mutation import planted

FOLDER = "csrc/convolution/cpu"

CHOSEN = (
    *planted(
        f"{FOLDER}/winograd.h",
        (
            "the pixel at infinity without its neighbour",
            "fma(product, d[1], fma(both, d[3], d[5]))",
            "fma(both, d[3], d[5])",
        ),
        (
            "the far points' results at the near ones' weight",
            "fma(broadcast<float>(kB), odd_b, broadcast<float>(kA) * odd_a)",
            "fma(broadcast<float>(kA), odd_b, broadcast<float>(kA) * odd_a)",
        ),
        (
            "the last result without infinity",
            "fma(broadcast<float>(kA * kA2), odd_a, m[5])",
            "broadcast<float>(kA * kA2) * odd_a",
        ),
        (
            "rows are transformed twice and columns never",
            "to_points<1>(half + i * kPatch, d);",
            "to_points<1>(half, d);",
        ),
        (
            "tiles behind the last whole group are left out",
            "multiply_rest<kCount, kRows - 1>(p, tile, tiles - tile);",
            "",
        ),
        (
            "the last group of tiles one too short",
            "if (tiles == kTiles) return multiply<kCount, kTiles>(p, tile);",
            "if (tiles == kTiles) return multiply<kCount, kTiles - 1 + (kTiles == 1)>(p, tile);",
        ),
        (
            "panels are read as if there were as many as are kept",
            "if (panels < kCount) return multiply_panels<kCount - 1>(p, tiles, panels);",
            "",
        ),
        (
            "the second group of panels has the first one's weights",
            "products.weights = weights_of(i, k);",
            "products.weights = weights_of(i, 0);",
        ),
        (
            "the second group of panels overwrites the first one's sums",
            "products.sums = sums + i * plan.sums_step + k * kPanel;",
            "products.sums = sums + i * plan.sums_step;",
        ),
        (
            "a patch is read beyond the image's last row",
            "at.y + kTile < p.height &&",
            "at.y + kTile <= p.height &&",
        ),
        (
            "a patch is read beyond the image's last column",
            "at.x + kTile < p.width;",
            "at.x + kTile <= p.width;",
        ),
        (
            "a patch is read before the image's first column",
            "at.y != 0 && at.x != 0 &&",
            "at.y != 0 &&",
        ),
        (
            "channels behind the last one are what was there",
            "if (is_inside && column == p.channels) {",
            "if (is_inside) {",
        ),
        (
            "no zeros outside the image",
            "memset(copy, 0, sizeof(float) * p.channels);",
            "",
        ),
        (
            "the image's last row is padding",
            "y < p.height && x >= 0",
            "y < p.height - 1 && x >= 0",
        ),
        (
            "results beyond the last row are written",
            "if (i >= rows || j >= columns) continue;",
            "if (j >= columns) continue;",
        ),
        (
            "results beyond the last column are written",
            "if (i >= rows || j >= columns) continue;",
            "if (i >= rows) continue;",
        ),
        (
            "results behind the last one are written",
            "if (kept == kL) {",
            "if (kept > 0) {",
        ),
        (
            "a bias is read behind the last one",
            "memcpy(bias, p.bias + f0 + f, sizeof(float) * kept);",
            "memcpy(bias, p.bias + f0 + f, sizeof(float) * kL);",
        ),
        (
            "every panel has the first one's biases",
            "p.bias + f0 + f,",
            "p.bias + f,",
        ),
        (
            "no upper bound",
            "results[i] = result > high ? high : result;",
            "results[i] = result;",
        ),
        (
            "a NaN becomes the lower bound",
            "result = result < low ? low : result;",
            "result = result > low ? result : low;",
        ),
        (
            "a later image's tiles are the first one's",
            "return {tile / plan.tiles_x / plan.tiles_y,",
            "return {0,",
        ),
        (
            "the last run is as long as the others",
            "const int64_t tiles = all - first < plan.run ? all - first : plan.run;",
            "const int64_t tiles = plan.run;",
        ),
        (
            "every run begins with the first tile",
            "const int64_t first = task / plan.groups * plan.run;",
            "const int64_t first = 0;",
        ),
        (
            "the last panels are as many as the others",
            "last - panel < plan.kept_panels ? last - panel : plan.kept_panels;",
            "plan.kept_panels;",
        ),
        (
            "every group of panels is the first one",
            "int64_t panel = task % plan.groups * plan.group_panels;",
            "int64_t panel = 0;",
        ),
    ),
    *planted(
        f"{FOLDER}/launch.cpp",
        (
            "no run where the memory is for less than a tile",
            "bytes / tile_bytes < 1 ? 1 : bytes / tile_bytes;",
            "bytes / tile_bytes;",
        ),
        (
            "the last group of panels is left out",
            "plan.groups = ceil_div(panels, plan.group_panels);",
            "plan.groups = panels / plan.group_panels;",
        ),
        (
            "tiles without the last row",
            "plan.tiles_y = ceil_div(params.height, kTile);",
            "plan.tiles_y = params.height / kTile;",
        ),
        (
            "runs that are one tile short of their memory",
            "plan.points_step = plan.run * plan.padded_channels + kLine;",
            "plan.points_step = (plan.run - 1) * plan.padded_channels + kLine;",
        ),
        (
            "the last run is left out",
            "const int64_t runs = ceil_div(tiles, plan.run);",
            "const int64_t runs = tiles / plan.run;",
        ),
    ),
)
