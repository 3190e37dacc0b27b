#include <utility>

#include "../../../cuda_on_cpu/classify/kernels/params.h"
#include "../../harness/module.h"
#include "classify/cpu.h"
#include "guarded_memory.h"

namespace {

using namespace scrn_on_cpu;
using namespace scrn::classify;
using cpu_kernels::Guarding;
using cpu_kernels::threads;

// The CUDA kernels need one.
const Register kWorkspace("workspace", [](const Arguments&) -> int64_t { return 0; });

const Register kLoss("cross_entropy", [](const Arguments& a) -> int64_t {
  const auto p = cross_entropy_params(a);
  const Guarding guarding;
  cpu::cross_entropy(p, threads());
  return 0;
});

const Register kBackward("cross_entropy_backward", [](const Arguments& a) -> int64_t {
  const auto p = backward_params(a);
  const Guarding guarding;
  cpu::cross_entropy_backward(p, threads());
  return 0;
});

const Register kScale("scale_gradient", [](const Arguments& a) -> int64_t {
  cpu::scale_gradient(scale_params(a), threads());
  return 0;
});

const Register kArgmax("argmax", [](const Arguments& a) -> int64_t {
  const auto p = argmax_params(a);
  const Guarding guarding;
  cpu::argmax(p, threads());
  return 0;
});

const Register kUpsample("upsample", [](const Arguments& a) -> int64_t {
  const auto p = upsample_params(a);
  const Guarding guarding;
  cpu::upsample(p, threads());
  return 0;
});

const Register kScratch("take_largest_scratch", [](const Arguments&) -> int64_t {
  return static_cast<int64_t>(std::exchange(cpu_kernels::largest_scratch, size_t{0}));
});

const Register kGuarded("guarded_allocations", [](const Arguments&) -> int64_t {
  return cpu_kernels::guarded_allocations;
});

}  // namespace
