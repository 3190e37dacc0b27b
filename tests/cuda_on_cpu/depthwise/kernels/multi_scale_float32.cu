#include "depthwise/cuda/multi_scale_backward_float32.cu"
#include "depthwise/cuda/multi_scale_float32.cu"
#include "multi_scale.h"

// Half types are added up in float.
namespace {

const MultiScale<float> kFloat("float32"), kHalf("float16"), kBFloat16("bfloat16");

}  // namespace
