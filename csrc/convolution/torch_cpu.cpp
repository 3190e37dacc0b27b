// The operator's binding: checks, layouts, allocation, and the kernels of cpu.h on torch's threads.

#include <cmath>
#include <limits>
#include <optional>

#include "../common/backend_cpu.h"
#include "../common/torch.h"
#include "cpu.h"

namespace scrn::convolution {
namespace {

class Cpu : scrn::CpuBackend {
 public:
  using scrn::CpuBackend::CpuBackend;

  void run(const ForwardParams& params) const { cpu::forward(params, threads_); }
};

void check_float(std::string_view name, const Tensor& tensor, const Tensor& input) {
  SCRN_CHECK(tensor.layout() == torch::headeronly::Layout::Strided, name,
             ": expected a dense tensor");
  SCRN_CHECK(tensor.scalar_type() == ScalarType::Float, name, ": expected dtype float32");
  check_device(name, tensor, input);
}

// Of the results; without one that of all numbers.
float bound_of(std::string_view name, std::optional<double> bound, float without) {
  if (!bound) return without;
  const double largest = std::numeric_limits<float>::max();
  const bool is_float = *bound >= -largest && *bound <= largest;
  SCRN_CHECK(is_float || std::isinf(*bound), name, ": expected a number of float32, got ", *bound);
  return static_cast<float>(*bound);
}

Tensor conv3x3(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
               const Tensor& packed, std::optional<double> minimum, std::optional<double> maximum) {
  check_map("input", input);
  const auto [batch, channels, height, width] = shape_of(input);
  check_float("input", input, input);
  check_float("weight", weight, input);
  const IntHeaderOnlyArrayRef sizes = weight.sizes();
  SCRN_CHECK(sizes.size() == 4 && sizes[1] == channels && sizes[2] == 3 && sizes[3] == 3,
             "weight: expected [F, ", channels, ", 3, 3], got ", shape_text(weight));
  const int64_t features = sizes[0], panels = ceil_div(features, kPanel);
  check_float("packed", packed, input);
  const IntHeaderOnlyArrayRef held = packed.sizes();
  SCRN_CHECK(held.size() == 4 && held[0] == kPoints && held[1] == panels && held[2] == channels &&
                 held[3] == kPanel,
             "packed: expected [", kPoints, ", ", panels, ", ", channels, ", ", kPanel, "], got ",
             shape_text(packed));
  if (bias) {
    check_float("bias", *bias, input);
    SCRN_CHECK(bias->sizes().size() == 1 && bias->sizes()[0] == features, "bias: expected [",
               features, "], got ", shape_text(*bias));
  }
  const Cpu backend(input);
  Tensor output = empty_map(input, {batch, features, height, width}, ScalarType::Float, true);
  if (batch == 0 || features == 0) return output;
  const Tensor pixels = dense(input, true), weights = dense(packed);
  const Tensor added =
      bias ? allocated(*bias, [&] { return torch::stable::contiguous(*bias); }) : weights;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  ForwardParams params;
  params.batch = batch;
  params.channels = channels;
  params.features = features;
  params.height = height;
  params.width = width;
  params.input = static_cast<const float*>(pixels.const_data_ptr());
  params.packed = static_cast<const float*>(weights.const_data_ptr());
  params.bias = bias ? static_cast<const float*>(added.const_data_ptr()) : nullptr;
  params.output = static_cast<float*>(output.mutable_data_ptr());
  params.low = bound_of("minimum", minimum, -kInfinity);
  params.high = bound_of("maximum", maximum, kInfinity);
  backend.run(params);
  return output;
}

}  // namespace
}  // namespace scrn::convolution

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CPU, m) {
  m.impl("conv3x3", TORCH_BOX(&scrn::convolution::conv3x3));
}
