// The operators on the CPU: the kernels of cpu.h, on torch's threads.
#include "../common/backend_cpu.h"
#include "cpu.h"
#include "torch_ops.h"

namespace scrn::classify {
namespace {

class Cpu : scrn::CpuBackend {
 public:
  using scrn::CpuBackend::CpuBackend;

  void run(const CrossEntropyParams& params) const { cpu::cross_entropy(params, threads_); }
  void run(const CrossEntropyBackwardParams& params) const {
    cpu::cross_entropy_backward(params, threads_);
  }
  void run(const ScaleGradientParams& params) const { cpu::scale_gradient(params, threads_); }
  void run(const ArgmaxParams& params) const { cpu::argmax(params, threads_); }
  void run(const UpsampleParams& params) const { cpu::upsample(params, threads_); }
};

Tensor upsampled_logits(const Tensor& logits, int64_t height, int64_t width, bool align_corners) {
  UpsampleParams params;
  params.shape = resize_shape(logits, height, width, align_corners);
  const ResizeShape& shape = params.shape;
  const Cpu backend(logits);
  const Tensor source = dense(logits, shape.channels_last);
  Tensor output = empty_map(logits, {shape.batch, shape.classes, height, width},
                            logits.scalar_type(), shape.channels_last);
  params.logits = source.const_data_ptr();
  params.output = output.mutable_data_ptr();
  backend.run(params);
  return output;
}

}  // namespace
}  // namespace scrn::classify

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CPU, m) {
  scrn::classify::register_kernels<scrn::classify::Cpu>(m);
  m.impl("upsampled_logits", TORCH_BOX(&scrn::classify::upsampled_logits));
}
