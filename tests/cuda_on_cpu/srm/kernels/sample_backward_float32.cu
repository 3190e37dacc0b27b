#include "sample_backward.h"

namespace {

using namespace scrn_on_cpu;

const Register kBackward("sample_backward_float32", backward<float>);
const Register kWorkspace("sample_backward_workspace_float32", backward_workspace<float>);

}  // namespace
