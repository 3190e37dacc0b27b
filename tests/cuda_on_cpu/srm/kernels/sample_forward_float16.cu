#include "sample_forward.h"

namespace {

using namespace scrn_on_cpu;

const Register kForward("sample_forward_float16", forward<__half>);

}  // namespace
