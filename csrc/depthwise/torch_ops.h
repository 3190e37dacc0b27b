#pragma once

// The operators' bindings, one template for every device: checks, layouts, allocation.

#include <tuple>

#include "../common/torch.h"
#include "params.h"

namespace scrn::depthwise {

inline DType weight_dtype(const Tensor& weights, DType features) {
  const DType type = dtype_of("weights", weights);
  SCRN_CHECK(type == DType::kFloat || type == features,
             "weights: expected dtype float32 or that of the features");
  return type;
}

inline UnitShape unit_shape(const Tensor& input, const Tensor& weights) {
  check_map("input", input);
  UnitShape s;
  const auto [batch, channels, height, width] = shape_of(input);
  s.batch = batch;
  s.channels = channels;
  s.height = static_cast<int32_t>(height);
  s.width = static_cast<int32_t>(width);
  s.channels_last = is_channels_last(input);
  s.dtype = dtype_of("input", input);
  SCRN_CHECK(weights.layout() == torch::headeronly::Layout::Strided,
             "weights: expected a dense tensor");
  s.weight_dtype = weight_dtype(weights, s.dtype);
  check_device("weights", weights, input);
  return s;
}

inline void check_taps(const UnitShape& s, const Tensor& weights) {
  const IntHeaderOnlyArrayRef sizes = weights.sizes();
  SCRN_CHECK(sizes.size() == 2 && sizes[0] == s.channels && sizes[1] == taps_of(s),
             "weights: expected [", s.channels, ", ", taps_of(s), "], got ", shape_text(weights));
}

inline UnitShape multi_scale_shape(const Tensor& input, const Tensor& weights, int64_t n0,
                                   int64_t n1, int64_t n2) {
  UnitShape s = unit_shape(input, weights);
  s.unit = Unit::kMultiScale;
  const int64_t lengths[kStrips] = {n0, n1, n2};
  for (int i = 0; i < kStrips; ++i) {
    SCRN_CHECK(lengths[i] % 2 == 1 && lengths[i] >= 3 && lengths[i] <= kMaxStrip, "n", i,
               ": expected an odd length from 3 to ", kMaxStrip, ", got ", lengths[i]);
    s.strips[i] = static_cast<int32_t>(lengths[i]);
  }
  check_taps(s, weights);
  return s;
}

inline UnitShape large_kernel_shape(const Tensor& input, const Tensor& weights, int64_t dilation) {
  UnitShape s = unit_shape(input, weights);
  s.unit = Unit::kLargeKernel;
  SCRN_CHECK(dilation >= 1 && dilation <= kMaxDilation, "dilation: expected 1 to ", kMaxDilation,
             ", got ", dilation);
  s.dilation = static_cast<int32_t>(dilation);
  check_taps(s, weights);
  return s;
}

inline UnitShape gelu_shape(const Tensor& input, const Tensor& weights, int64_t size) {
  UnitShape s = unit_shape(input, weights);
  s.unit = Unit::kGelu;
  SCRN_CHECK(size == 3 || size == 5 || size == 7, "size: expected 3, 5 or 7, got ", size);
  s.square = static_cast<int32_t>(size);
  check_taps(s, weights);
  return s;
}

inline bool is_empty(const UnitShape& s) { return s.batch == 0 || s.channels == 0; }

// As torch::stable::contiguous, of the weights [C, taps].
inline Tensor dense_weights(const Tensor& weights) {
  const IntHeaderOnlyArrayRef sizes = weights.sizes(), strides = weights.strides();
  const bool is_dense =
      (sizes[1] == 1 || strides[1] == 1) && (sizes[0] == 1 || strides[0] == sizes[1]);
  if (is_dense) return weights;
  return allocated(weights, [&] { return torch::stable::contiguous(weights); });
}

template <class Backend>
void launch_forward(const Backend& backend, const UnitShape& s, const Tensor& input,
                    const Tensor& weights, const Tensor& output) {
  if (is_empty(s)) return;
  const Tensor dense_input = dense(input, s.channels_last), packed = dense_weights(weights);
  ForwardParams params;
  params.shape = s;
  params.input = dense_input.const_data_ptr();
  params.weights = packed.const_data_ptr();
  params.output = output.mutable_data_ptr();
  backend.run(params);
}

template <class Backend>
Tensor forward(const UnitShape& s, const Tensor& input, const Tensor& weights) {
  const Backend backend(input);
  Tensor output = empty_map(input, shape_of(input), input.scalar_type(), s.channels_last);
  launch_forward(backend, s, input, weights, output);
  return output;
}

template <class Backend>
std::tuple<Tensor, Tensor> backward(const UnitShape& s, const Tensor& grad, const Tensor& input,
                                    const Tensor& weights, bool need_input, bool need_weights) {
  check_shape("grad", grad, shape_of(input));
  check_device("grad", grad, input);
  SCRN_CHECK(dtype_of("grad", grad) == s.dtype, "grad: expected the dtype of input");
  const Backend backend(input);
  Tensor grad_input = gradient_of(input, shape_of(input), need_input, s.channels_last);
  Tensor grad_weights = need_weights ? new_empty(weights, weights.sizes(), weights.scalar_type())
                                     : no_gradient(weights);
  if (is_empty(s)) {
    if (need_weights) torch::stable::zero_(grad_weights);
  } else if (need_input || need_weights) {
    const Tensor dense_input = dense(input, s.channels_last);
    const Tensor dense_grad = dense(grad, s.channels_last), packed = dense_weights(weights);
    BackwardParams params;
    params.shape = s;
    params.grad = dense_grad.const_data_ptr();
    params.input = dense_input.const_data_ptr();
    params.weights = packed.const_data_ptr();
    params.grad_input = pointer_if(need_input, grad_input);
    params.grad_weights = pointer_if(need_weights, grad_weights);
    const int64_t bytes = static_cast<int64_t>(backend.workspace_bytes(params));
    const Tensor workspace = new_empty(input, {&bytes, 1}, ScalarType::Byte);
    params.workspace = workspace.mutable_data_ptr();
    backend.run(params);
  }
  return {grad_input, grad_weights};
}

template <class Backend>
Tensor multi_scale_depthwise(const Tensor& input, const Tensor& weights, int64_t n0, int64_t n1,
                             int64_t n2) {
  return forward<Backend>(multi_scale_shape(input, weights, n0, n1, n2), input, weights);
}

template <class Backend>
std::tuple<Tensor, Tensor> multi_scale_depthwise_backward(const Tensor& grad, const Tensor& input,
                                                          const Tensor& weights, int64_t n0,
                                                          int64_t n1, int64_t n2, bool need_input,
                                                          bool need_weights) {
  return backward<Backend>(multi_scale_shape(input, weights, n0, n1, n2), grad, input, weights,
                           need_input, need_weights);
}

template <class Backend>
Tensor large_kernel_depthwise(const Tensor& input, const Tensor& weights, int64_t dilation) {
  return forward<Backend>(large_kernel_shape(input, weights, dilation), input, weights);
}

template <class Backend>
std::tuple<Tensor, Tensor> large_kernel_depthwise_backward(const Tensor& grad, const Tensor& input,
                                                           const Tensor& weights, int64_t dilation,
                                                           bool need_input, bool need_weights) {
  return backward<Backend>(large_kernel_shape(input, weights, dilation), grad, input, weights,
                           need_input, need_weights);
}

template <class Backend>
Tensor depthwise_gelu(const Tensor& input, const Tensor& weights, int64_t size) {
  return forward<Backend>(gelu_shape(input, weights, size), input, weights);
}

// Bytes from the first element of a tensor to behind the last; strides are never negative.
inline int64_t extent(const Tensor& tensor) {
  int64_t last = 0;
  for (int64_t d = 0; d < 4; ++d) last += (tensor.sizes()[d] - 1) * tensor.strides()[d];
  return (last + 1) * size_of(dtype_of("tensor", tensor));
}
inline bool are_apart(const char* a, const Tensor& first, const char* b, const Tensor& second) {
  return first.numel() == 0 || a + extent(first) <= b || b + extent(second) <= a;
}

// `out` may be the input. What overlaps it otherwise, or lies in another order, gets a copy.
template <class Backend>
void depthwise_gelu_out(const Tensor& input, const Tensor& weights, int64_t size, Tensor out) {
  const UnitShape s = gelu_shape(input, weights, size);
  check_shape("out", out, shape_of(input));
  check_device("out", out, input);
  SCRN_CHECK(dtype_of("out", out) == s.dtype, "out: expected the dtype of input");
  const Backend backend(input);
  const char* from = static_cast<const char*>(input.const_data_ptr());
  const char* to = static_cast<const char*>(out.const_data_ptr());
  const bool over_input = from == to && is_dense(input, s.channels_last);
  if (is_dense(out, s.channels_last) && (over_input || are_apart(from, input, to, out))) {
    return launch_forward(backend, s, input, weights, out);
  }
  torch::stable::copy_(out, forward<Backend>(s, input, weights), std::nullopt);
}

template <class Backend>
std::tuple<Tensor, Tensor> depthwise_gelu_backward(const Tensor& grad, const Tensor& input,
                                                   const Tensor& weights, int64_t size,
                                                   bool need_input, bool need_weights) {
  return backward<Backend>(gelu_shape(input, weights, size), grad, input, weights, need_input,
                           need_weights);
}

// Every operator's kernel for one backend, in the library `m` of STABLE_TORCH_LIBRARY_IMPL.
template <class Backend>
void register_kernels(torch::stable::detail::StableLibrary& m) {
  m.impl("multi_scale_depthwise", TORCH_BOX(&multi_scale_depthwise<Backend>));
  m.impl("multi_scale_depthwise_backward", TORCH_BOX(&multi_scale_depthwise_backward<Backend>));
  m.impl("large_kernel_depthwise", TORCH_BOX(&large_kernel_depthwise<Backend>));
  m.impl("large_kernel_depthwise_backward", TORCH_BOX(&large_kernel_depthwise_backward<Backend>));
  m.impl("depthwise_gelu", TORCH_BOX(&depthwise_gelu<Backend>));
  m.impl("depthwise_gelu_out", TORCH_BOX(&depthwise_gelu_out<Backend>));
  m.impl("depthwise_gelu_backward", TORCH_BOX(&depthwise_gelu_backward<Backend>));
}

}  // namespace scrn::depthwise
