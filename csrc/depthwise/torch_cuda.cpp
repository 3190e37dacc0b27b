// The operators on CUDA devices: the kernels of cuda.h, on torch's current stream.
#include "../common/backend_cuda.h"
#include "cuda.h"
#include "torch_ops.h"

namespace scrn::depthwise {
namespace {

class Cuda : scrn::CudaBackend {
 public:
  explicit Cuda(const Tensor& like) : scrn::CudaBackend(like), like_(like) {}

  size_t workspace_bytes(const BackwardParams& params) const {
    switch (params.shape.unit) {
      case Unit::kLargeKernel:
        return cuda::large_kernel_workspace_bytes(params);
      case Unit::kGelu:
        return cuda::gelu_workspace_bytes(params);
      default:
        return cuda::multi_scale_workspace_bytes(params);
    }
  }
  void run(const ForwardParams& params) const {
    switch (params.shape.unit) {
      case Unit::kLargeKernel:
        return report("large_kernel_depthwise", cuda::large_kernel(params, stream()));
      case Unit::kGelu:
        return run_gelu(params);
      default:
        return report("multi_scale_depthwise", cuda::multi_scale(params, stream()));
    }
  }
  void run(const BackwardParams& params) const {
    switch (params.shape.unit) {
      case Unit::kLargeKernel:
        return report("large_kernel_depthwise_backward",
                      cuda::large_kernel_backward(params, stream()));
      case Unit::kGelu:
        return report("depthwise_gelu_backward", cuda::gelu_backward(params, stream()));
      default:
        return report("multi_scale_depthwise_backward",
                      cuda::multi_scale_backward(params, stream()));
    }
  }

 private:
  void run_gelu(const ForwardParams& params) const {
    if (params.output != params.input) {
      return report("depthwise_gelu", cuda::gelu(params, nullptr, stream()));
    }
    const int64_t bytes = static_cast<int64_t>(cuda::gelu_border_bytes(params));
    const Tensor workspace = new_empty(like_, {&bytes, 1}, ScalarType::Byte);
    report("depthwise_gelu", cuda::gelu(params, workspace.mutable_data_ptr(), stream()));
  }

  Tensor like_;
};

}  // namespace
}  // namespace scrn::depthwise

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CUDA, m) {
  scrn::depthwise::register_kernels<scrn::depthwise::Cuda>(m);
}
