#include "depthwise/cuda/multi_scale_bfloat16.cu"
#include "multi_scale.h"

SCRN_REGISTER_MULTI_SCALE(__nv_bfloat16, "bfloat16")
