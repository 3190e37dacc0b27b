#include "sample_backward.h"

namespace {

using namespace scrn_on_cpu;

const Register kBackward("sample_backward_bfloat16", backward<__nv_bfloat16>);
const Register kWorkspace("sample_backward_workspace_bfloat16", backward_workspace<__nv_bfloat16>);

}  // namespace
