#pragma once

#include <vector>

#include "plan.h"

namespace scrn::srm::cpu {

// Eq. 4's geometry along one dimension, and the memory that its AxisTable points into.
class AxisGeometry {
 public:
  AxisGeometry(bool upsample, int32_t in_size, int32_t out_size, const Ratio& ratio,
               DType accumulate);
  AxisGeometry(const AxisGeometry&) = delete;
  AxisGeometry& operator=(const AxisGeometry&) = delete;

  const AxisTable& table() const { return table_; }

 private:
  template <typename A>
  void fill(const Ratio& ratio, std::vector<A>& left, std::vector<A>& right);

  AxisTable table_;
  std::vector<int32_t> first_;
  std::vector<float> left_float_, right_float_;
  std::vector<double> left_double_, right_double_;
};

}  // namespace scrn::srm::cpu
