#include "sample_forward.h"

namespace {

using namespace scrn_on_cpu;

const Register kForward("sample_forward_bfloat16", forward<__nv_bfloat16>);

}  // namespace
