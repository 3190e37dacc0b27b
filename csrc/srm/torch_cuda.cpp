// The operators on CUDA devices: the kernels of cuda.h, on torch's current stream.
#include "../common/backend_cuda.h"
#include "cuda.h"
#include "torch_ops.h"

namespace scrn::srm {
namespace {

class Cuda : scrn::CudaBackend {
 public:
  using scrn::CudaBackend::CudaBackend;

  size_t workspace_bytes(const SampleBackwardParams& params) const {
    return cuda::sample_backward_workspace_bytes(params);
  }
  void run(const AggregateForwardParams& params) const {
    report("aggregate_forward", cuda::aggregate_forward(params, stream()));
  }
  void run(const AggregateBackwardParams& params) const {
    report("aggregate_backward", cuda::aggregate_backward(params, stream()));
  }
  void run(const SampleForwardParams& params) const {
    report("sample_forward", cuda::sample_forward(params, stream()));
  }
  void run(const SampleBackwardParams& params) const {
    report("sample_backward", cuda::sample_backward(params, stream()));
  }
};

}  // namespace
}  // namespace scrn::srm

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CUDA, m) { scrn::srm::register_kernels<scrn::srm::Cuda>(m); }
