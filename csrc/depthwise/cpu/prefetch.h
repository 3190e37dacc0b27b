#pragma once

#include "rows.h"

namespace scrn::depthwise::cpu::SCRN_CPU_ISA {
namespace {

// Requests the cache lines of a tile's rows in pieces, while something else is computed: the lines
// of a tile lie scattered, and no hardware foresees them.
template <typename S>
class Prefetch {
 public:
  // Rows first .. first + rows - 1 of a map, columns from .. to - 1 of the tile.
  Prefetch(const UnitShape& s, const S* map, const Tile& tile, int64_t first, int64_t rows,
           int from, int to, int64_t pieces) {
    if (first < 0) {
      rows += first;
      first = 0;
    }
    if (first + rows > s.height) rows = s.height - first;
    const int left = tile.x0 + from < 0 ? static_cast<int>(-tile.x0) : from;
    const int right = tile.x0 + to > s.width ? static_cast<int>(s.width - tile.x0) : to;
    const int64_t size = sizeof(S);
    line_ = reinterpret_cast<const char*>(pixel(s, map, tile.b, tile.c0, first, tile.x0 + left));
    const int64_t plane = s.channels_last ? 0 : size * s.height * s.width;
    stride_ = s.channels_last ? size * s.channels : 64;
    lines_ = s.channels_last ? right - left : static_cast<int>((right - left) * size / 64 + 1);
    row_ = size * s.width * (s.channels_last ? s.channels : 1);
    planes_ = s.channels_last ? 1 : tile.channels;
    next_plane_ = plane - rows * row_;
    run_ = s.channels_last ? static_cast<int>((tile.channels * size + 63) / 64) : 1;
    run_left_ = run_;
    rows_ = rows_left_ = rows > 0 ? rows : 0;
    if (rows_ == 0) planes_ = 0;
    next_ = line_;
    left_ = lines_;
    piece_ = static_cast<int>(ceil_div(run_ * lines_ * rows_ * planes_, pieces));
  }

  // The next piece.
  SCRN_INLINE_MEMBER void some() {
    for (int count = piece_; count > 0 && planes_ > 0; --count) {
      __builtin_prefetch(next_, 0, 2);
      next_ += 64;
      if (--run_left_ > 0) continue;
      run_left_ = run_;
      next_ += stride_ - run_ * 64;
      if (--left_ > 0) continue;
      left_ = lines_;
      line_ += row_;
      if (--rows_left_ == 0) {
        rows_left_ = rows_;
        line_ += next_plane_;
        --planes_;
      }
      next_ = line_;
    }
  }

 private:
  const char *line_ = nullptr, *next_ = nullptr;
  int64_t stride_ = 0, row_ = 0, next_plane_ = 0, rows_ = 0, rows_left_ = 0;
  int lines_ = 0, left_ = 0, planes_ = 0, piece_ = 0;
  int run_ = 1, run_left_ = 1;  // lines that lie side by side
};

}  // namespace
}  // namespace scrn::depthwise::cpu::SCRN_CPU_ISA
