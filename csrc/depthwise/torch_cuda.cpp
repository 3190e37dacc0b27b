// The operators on CUDA devices: the kernels of cuda.h, on torch's current stream.
#include "../common/backend_cuda.h"
#include "cuda.h"
#include "torch_ops.h"

namespace scrn::depthwise {
namespace {

class Cuda : scrn::CudaBackend {
 public:
  using scrn::CudaBackend::CudaBackend;

  void run(const ForwardParams& params) const {
    report("multi_scale_depthwise", cuda::multi_scale(params, stream()));
  }
};

}  // namespace
}  // namespace scrn::depthwise

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CUDA, m) {
  m.impl("multi_scale_depthwise",
         TORCH_BOX(&scrn::depthwise::multi_scale_depthwise<scrn::depthwise::Cuda>));
}
