#include "depthwise/cuda/multi_scale_float64.cu"
#include "multi_scale.h"

namespace {

const MultiScale<double> kDouble("float64");

}  // namespace
