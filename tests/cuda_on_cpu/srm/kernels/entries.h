#pragma once

#include "../../harness/launch_options.h"
#include "params.h"
#include "srm/cuda/common.cuh"
