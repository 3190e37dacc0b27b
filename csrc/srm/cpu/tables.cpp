#include "tables.h"

#include <cmath>

namespace scrn::srm::cpu {

AxisGeometry::AxisGeometry(bool upsample, int32_t in_size, int32_t out_size, const Ratio& ratio,
                           DType accumulate) {
  table_.upsample = upsample;
  table_.in_size = in_size;
  table_.out_size = out_size;
  table_.scale = static_cast<double>(ratio.mul) / static_cast<double>(ratio.den);
  if (accumulate == DType::kDouble) {
    fill(ratio, left_double_, right_double_);
  } else {
    fill(ratio, left_float_, right_float_);
  }
}

template <typename A>
void AxisGeometry::fill(const Ratio& ratio, std::vector<A>& left, std::vector<A>& right) {
  const size_t length = static_cast<size_t>(table_.out_size) + 1 + 2 * kTablePadding;
  first_.resize(length);
  left.resize(length);
  if (table_.upsample) {
    right.resize(length);
    const int32_t last = table_.in_size - 1;
    for (int32_t cell = -1; cell < table_.out_size; ++cell) {
      const Taps<double> taps =
          upsample_taps<double>(cell < 0 ? 0 : cell, cell < 0 ? -1.0 : 0.0, table_.out_size, ratio);
      // The weights are linear over a cell: (1 - f) * weight + f * end.
      const double end[3] = {taps.weight[0] + taps.slope[0], taps.weight[1] + taps.slope[1],
                             taps.weight[2] + taps.slope[2]};
      const bool advance = end[0] == 0 && taps.first < last;
      const int32_t end_first = taps.first + (advance ? 1 : 0);
      const size_t i = static_cast<size_t>(cell + 1) + kTablePadding;
      first_[i] = taps.first;
      left[i] = static_cast<A>(taps.first < last ? taps.weight[1] : 0.0);
      const double share = end_first < last ? end[advance ? 2 : 1] : 0.0;
      right[i] = std::copysign(static_cast<A>(share), advance ? A(-1) : A(1));
    }
  } else {
    for (int32_t index = 0; index < table_.out_size; ++index) {
      int64_t remainder;
      // Shifted by one cell: the half-pixel convention starts between -1 and 0.
      const size_t i = static_cast<size_t>(index) + kTablePadding;
      divide(index * ratio.mul + ratio.add + ratio.den, ratio.den, first_[i], remainder);
      first_[i] -= 1;
      left[i] = static_cast<A>(static_cast<double>(remainder) / static_cast<double>(ratio.den));
    }
  }
  table_.first = first_.data() + kTablePadding;
  table_.left = left.data() + kTablePadding;
  table_.right = table_.upsample ? right.data() + kTablePadding : nullptr;
}

}  // namespace scrn::srm::cpu
