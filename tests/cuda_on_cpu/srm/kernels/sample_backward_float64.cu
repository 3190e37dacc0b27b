#include "sample_backward.h"

namespace {

using namespace scrn_on_cpu;

const Register kBackward("sample_backward_float64", backward<double>);
const Register kWorkspace("sample_backward_workspace_float64", backward_workspace<double>);

}  // namespace
