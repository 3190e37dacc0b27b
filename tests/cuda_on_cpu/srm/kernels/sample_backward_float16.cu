#include "sample_backward.h"

namespace {

using namespace scrn_on_cpu;

const Register kBackward("sample_backward_float16", backward<__half>);
const Register kWorkspace("sample_backward_workspace_float16", backward_workspace<__half>);

}  // namespace
