// The operators on CUDA devices: the kernels of cuda.h, on torch's current stream.
#include "../common/backend_cuda.h"
#include "cuda.h"
#include "torch_ops.h"

namespace scrn::depthwise {
namespace {

class Cuda : scrn::CudaBackend {
 public:
  using scrn::CudaBackend::CudaBackend;

  size_t workspace_bytes(const BackwardParams& params) const {
    return cuda::multi_scale_workspace_bytes(params);
  }
  void run(const ForwardParams& params) const {
    report("multi_scale_depthwise", cuda::multi_scale(params, stream()));
  }
  void run(const BackwardParams& params) const {
    report("multi_scale_depthwise_backward", cuda::multi_scale_backward(params, stream()));
  }
};

}  // namespace
}  // namespace scrn::depthwise

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CUDA, m) {
  scrn::depthwise::register_multi_scale<scrn::depthwise::Cuda>(m);
}
