#include "sample_forward.h"

namespace {

using namespace scrn_on_cpu;

const Register kForward("sample_forward_float32", forward<float>);
const Register kBlocks("forward_blocks_float32", forward_blocks<float>);
const Register kAtATime("forward_blocks_at_a_time_float32", forward_blocks_at_a_time<float>);
const Register kIndex("forward_fits_index32_float32", forward_fits_index32<float>);

}  // namespace
