// The operators on CUDA devices: the kernels of cuda.h, on torch's current stream.
#include "../common/backend_cuda.h"
#include "cuda.h"
#include "torch_ops.h"

namespace scrn::classify {
namespace {

class Cuda : scrn::CudaBackend {
 public:
  explicit Cuda(const Tensor& like) : scrn::CudaBackend(like), like_(like) {}

  void run(const CrossEntropyParams& params) const {
    const Tensor workspace = workspace_of(params.shape, params.gradient != nullptr);
    report("cross_entropy", cuda::cross_entropy(params, workspace.mutable_data_ptr(), stream()));
  }
  void run(const CrossEntropyBackwardParams& params) const {
    const Tensor workspace = workspace_of(params.shape, /*gradient=*/true);
    report("cross_entropy_backward",
           cuda::cross_entropy_backward(params, workspace.mutable_data_ptr(), stream()));
  }
  void run(const ScaleGradientParams& params) const {
    report("scale_gradient", cuda::scale_gradient(params, stream()));
  }
  void run(const ArgmaxParams& params) const { report("argmax", cuda::argmax(params, stream())); }

 private:
  Tensor workspace_of(const ResizeShape& shape, bool gradient) const {
    const int64_t bytes =
        static_cast<int64_t>(cuda::cross_entropy_workspace_bytes(shape, gradient));
    return new_empty(like_, {&bytes, 1}, ScalarType::Byte);
  }

  Tensor like_;
};

}  // namespace
}  // namespace scrn::classify

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CUDA, m) {
  scrn::classify::register_kernels<scrn::classify::Cuda>(m);
}
