#include "sample_forward.h"

namespace {

using namespace scrn_on_cpu;

const Register kForward("sample_forward_bfloat16", forward<__nv_bfloat16>);
const Register kBlocks("forward_blocks_bfloat16", forward_blocks<__nv_bfloat16>);
const Register kAtATime("forward_blocks_at_a_time_bfloat16",
                        forward_blocks_at_a_time<__nv_bfloat16>);
const Register kIndex("forward_fits_index32_bfloat16", forward_fits_index32<__nv_bfloat16>);

}  // namespace
