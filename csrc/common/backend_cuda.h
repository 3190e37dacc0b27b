#pragma once

// What the CUDA backends of all families are made of: a device and torch's current stream on it.

// The stable headers declare what belongs to CUDA only where this is defined.
#ifndef USE_CUDA
#define USE_CUDA
#endif

#include "torch.h"

namespace scrn {

// While it lives, the device of the tensor is the current one, where the kernels launch.
class CudaBackend {
 public:
  explicit CudaBackend(const Tensor& like) : guard_(like.get_device_index()) {
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(like.get_device_index(), &stream_));
  }

 protected:
  // Throws what torch says of the cudaError_t, unless it is 0.
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

  void* stream() const { return stream_; }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  void* stream_ = nullptr;
};

}  // namespace scrn
