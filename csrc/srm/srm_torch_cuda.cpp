// The operators on CUDA devices: the kernels of srm_cuda.h, on torch's current stream.
// The stable headers declare what belongs to CUDA only where this is defined.
#ifndef USE_CUDA
#define USE_CUDA
#endif

#include "srm_cuda.h"
#include "srm_torch_ops.h"

namespace scrn {
namespace {

// While it lives, the device of the tensor is the current one, where the kernels launch.
class CudaBackend {
 public:
  explicit CudaBackend(const Tensor& like) : guard_(like.get_device_index()) {
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(like.get_device_index(), &stream_));
  }

  size_t workspace_bytes(const SampleBackwardParams& params) const {
    return cuda::sample_backward_workspace_bytes(params);
  }
  void run(const AggregateForwardParams& params) const {
    report("aggregate_forward", cuda::aggregate_forward(params, stream_));
  }
  void run(const AggregateBackwardParams& params) const {
    report("aggregate_backward", cuda::aggregate_backward(params, stream_));
  }
  void run(const SampleForwardParams& params) const {
    report("sample_forward", cuda::sample_forward(params, stream_));
  }
  void run(const SampleBackwardParams& params) const {
    report("sample_backward", cuda::sample_backward(params, stream_));
  }

 private:
  static void report(const char* kernel, int error) {
    if (error == 0) return;
    char* text = nullptr;
    torch_c10_cuda_check_msg(error, "scrn_ops", kernel, /*line_number=*/0,
                             /*include_device_assertions=*/true, &text);
    std::string message = std::string("scrn_ops: launching ") + kernel + " failed: ";
    message += text != nullptr ? text : "CUDA error " + std::to_string(error);
    if (text != nullptr) torch_c10_cuda_free_error_msg(text);
    throw std::runtime_error(message);
  }

  torch::stable::accelerator::DeviceGuard guard_;
  void* stream_ = nullptr;
};

}  // namespace
}  // namespace scrn

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CUDA, m) { scrn::register_kernels<scrn::CudaBackend>(m); }
