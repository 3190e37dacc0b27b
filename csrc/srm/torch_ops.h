#pragma once

// The operators of schemas.cpp, for any backend: a class that is made for the device of a
// tensor and launches the kernels of cpu.h or cuda.h there.

#include <tuple>

#include "../common/torch.h"
#include "params.h"

namespace scrn::srm {

// float32 or the type of the features.
inline DType coordinate_dtype(std::string_view name, const Tensor& tensor, DType features) {
  const DType type = dtype_of(name, tensor);
  SCRN_CHECK(type == DType::kFloat || type == features, name,
             ": expected dtype float32 or that of the features");
  return type;
}

// The geometry of Eq. 4 from an input [B, C, h, w] to an output of the offset's size.
inline SampleShape sample_shape(std::string_view name, const Tensor& input, const Tensor& offset,
                                bool upsample, bool align_corners) {
  check_map(name, input);
  check_map("offset", offset);
  const IntHeaderOnlyArrayRef in = input.sizes(), out = offset.sizes();
  SCRN_CHECK(out[1] == 2, "offset: expected 2 channels, got ", shape_text(offset));
  SCRN_CHECK(out[0] == in[0], "offset: expected the batch of ", name, ", ", in[0], ", got ",
             shape_text(offset));
  check_device("offset", offset, input);
  SampleShape shape;
  shape.batch = in[0];
  shape.channels = in[1];
  shape.in_h = static_cast<int32_t>(in[2]);
  shape.in_w = static_cast<int32_t>(in[3]);
  shape.out_h = static_cast<int32_t>(out[2]);
  shape.out_w = static_cast<int32_t>(out[3]);
  shape.upsample = upsample;
  shape.channels_last = is_channels_last(input);
  shape.dtype = dtype_of(name, input);
  SCRN_CHECK(!upsample || (shape.in_h <= shape.out_h && shape.in_w <= shape.out_w), name,
             ": expected a map no larger than offset's, got ", shape_text(input), " and ",
             shape_text(offset));
  if (upsample || shape.in_h != shape.out_h || shape.in_w != shape.out_w) {
    shape.ratio_y = resize_ratio(shape.in_h, shape.out_h, align_corners);
    shape.ratio_x = resize_ratio(shape.in_w, shape.out_w, align_corners);
  }
  return shape;
}

inline std::array<int64_t, 4> input_shape(const SampleShape& shape) {
  return {shape.batch, shape.channels, shape.in_h, shape.in_w};
}

inline std::array<int64_t, 4> output_shape(const SampleShape& shape) {
  return {shape.batch, shape.channels, shape.out_h, shape.out_w};
}

inline bool is_empty(const SampleShape& shape) { return shape.batch == 0 || shape.channels == 0; }

struct AggregateInputs {
  Tensor offset, mask;
  int64_t batch;
  int32_t height, width;
  DType offset_dtype, mask_dtype;
};

inline AggregateInputs aggregate_inputs(const Tensor& offset, const Tensor& mask) {
  check_map("offset", offset);
  const auto [batch, channels, height, width] = shape_of(offset);
  SCRN_CHECK(channels == 2, "offset: expected 2 channels, got ", shape_text(offset));
  check_shape("mask", mask, {batch, 9, height, width});
  check_device("mask", mask, offset);
  return {dense(offset),
          dense(mask),
          batch,
          static_cast<int32_t>(height),
          static_cast<int32_t>(width),
          dtype_of("offset", offset),
          dtype_of("mask", mask)};
}

template <typename Params>
Params aggregate_params(const AggregateInputs& inputs, bool mask_is_logits) {
  Params params;
  params.batch = inputs.batch;
  params.height = inputs.height;
  params.width = inputs.width;
  params.offset_dtype = inputs.offset_dtype;
  params.mask_dtype = inputs.mask_dtype;
  params.aggregated_dtype =
      inputs.offset_dtype == DType::kDouble || inputs.mask_dtype == DType::kDouble ? DType::kDouble
                                                                                   : DType::kFloat;
  params.mask_is_logits = mask_is_logits;
  params.offset = inputs.offset.const_data_ptr();
  params.mask = inputs.mask.const_data_ptr();
  return params;
}

template <class Backend>
void launch_aggregate(const Backend& backend, const AggregateInputs& inputs, bool mask_is_logits,
                      DType type, const Tensor& aggregated) {
  auto params = aggregate_params<AggregateForwardParams>(inputs, mask_is_logits);
  params.aggregated_dtype = type;
  params.aggregated = aggregated.mutable_data_ptr();
  if (params.batch > 0) backend.run(params);
}

template <class Backend>
Tensor aggregate_offsets(const Tensor& offset, const Tensor& mask, bool mask_is_logits) {
  const AggregateInputs inputs = aggregate_inputs(offset, mask);
  const Backend backend(offset);
  const DType type = aggregate_params<AggregateForwardParams>(inputs, false).aggregated_dtype;
  Tensor aggregated = empty_map(offset, shape_of(offset), scalar_type_of(type));
  launch_aggregate(backend, inputs, mask_is_logits, type, aggregated);
  return aggregated;
}

// `type` is that of grad_aggregated, [B,2,H,W] and contiguous.
template <class Backend>
std::tuple<Tensor, Tensor> launch_aggregate_backward(const Backend& backend,
                                                     const AggregateInputs& inputs,
                                                     bool mask_is_logits, DType type,
                                                     const Tensor& grad_aggregated,
                                                     bool need_offset, bool need_mask) {
  Tensor grad_offset = gradient_of(inputs.offset, shape_of(inputs.offset), need_offset);
  Tensor grad_mask = gradient_of(inputs.mask, shape_of(inputs.mask), need_mask);
  if (inputs.batch > 0 && (need_offset || need_mask)) {
    auto params = aggregate_params<AggregateBackwardParams>(inputs, mask_is_logits);
    params.aggregated_dtype = type;
    params.grad_aggregated = grad_aggregated.const_data_ptr();
    params.grad_offset = pointer_if(need_offset, grad_offset);
    params.grad_mask = pointer_if(need_mask, grad_mask);
    backend.run(params);
  }
  return {grad_offset, grad_mask};
}

template <class Backend>
std::tuple<Tensor, Tensor> aggregate_offsets_backward(const Tensor& grad, const Tensor& offset,
                                                      const Tensor& mask, bool mask_is_logits,
                                                      bool need_offset, bool need_mask) {
  const AggregateInputs inputs = aggregate_inputs(offset, mask);
  check_shape("grad", grad, shape_of(offset));
  check_device("grad", grad, offset);
  const DType type = aggregate_params<AggregateBackwardParams>(inputs, false).aggregated_dtype;
  SCRN_CHECK(dtype_of("grad", grad) == type, "grad: expected the dtype of the aggregated offsets");
  const Backend backend(offset);
  return launch_aggregate_backward(backend, inputs, mask_is_logits, type, dense(grad), need_offset,
                                   need_mask);
}

template <class Backend>
Tensor offset_sample(const Tensor& input, const Tensor& offset, bool align_corners) {
  SampleForwardParams params;
  params.shape = sample_shape("input", input, offset, /*upsample=*/false, align_corners);
  params.offset_dtype = coordinate_dtype("offset", offset, params.shape.dtype);
  const Backend backend(input);
  const bool channels_last = params.shape.channels_last;
  const Tensor dense_input = dense(input, channels_last), dense_offset = dense(offset);
  Tensor output = empty_map(input, output_shape(params.shape), input.scalar_type(), channels_last);
  if (!is_empty(params.shape)) {
    params.input = dense_input.const_data_ptr();
    params.offset = dense_offset.const_data_ptr();
    params.output = output.mutable_data_ptr();
    backend.run(params);
  }
  return output;
}

// grad_input and grad_offset, the latter in the type of `offset`: where the forward sampled.
template <class Backend>
std::tuple<Tensor, Tensor> launch_sample_backward(const Backend& backend, const SampleShape& shape,
                                                  const Tensor& grad, const Tensor& input,
                                                  const Tensor& offset, bool need_input,
                                                  bool need_offset, bool deterministic) {
  check_shape("grad", grad, output_shape(shape));
  check_device("grad", grad, input);
  SCRN_CHECK(dtype_of("grad", grad) == shape.dtype, "grad: expected the dtype of the features");
  Tensor grad_input = gradient_of(input, input_shape(shape), need_input, shape.channels_last);
  Tensor grad_offset = gradient_of(offset, shape_of(offset), need_offset);
  if (is_empty(shape)) {
    if (need_offset) torch::stable::zero_(grad_offset);
  } else if (need_input || need_offset) {
    const Tensor dense_grad = dense(grad, shape.channels_last);
    const Tensor dense_input = dense(input, shape.channels_last);
    const Tensor dense_offset = dense(offset);
    SampleBackwardParams params;
    params.shape = shape;
    params.offset_dtype = dtype_of("offset", offset);
    params.deterministic = deterministic;
    params.input = dense_input.const_data_ptr();
    params.offset = dense_offset.const_data_ptr();
    params.grad_output = dense_grad.const_data_ptr();
    params.grad_input = pointer_if(need_input, grad_input);
    params.grad_offset = pointer_if(need_offset, grad_offset);
    const int64_t bytes = static_cast<int64_t>(backend.workspace_bytes(params));
    const Tensor workspace = new_empty(input, {&bytes, 1}, ScalarType::Byte);
    params.workspace = workspace.mutable_data_ptr();
    backend.run(params);
  }
  return {grad_input, grad_offset};
}

template <class Backend>
std::tuple<Tensor, Tensor> offset_sample_backward(const Tensor& grad, const Tensor& input,
                                                  const Tensor& offset, bool align_corners,
                                                  bool need_input, bool need_offset,
                                                  bool deterministic) {
  const SampleShape shape = sample_shape("input", input, offset, /*upsample=*/false, align_corners);
  coordinate_dtype("offset", offset, shape.dtype);
  const Backend backend(input);
  return launch_sample_backward(backend, shape, grad, input, offset, need_input, need_offset,
                                deterministic);
}

template <class Backend>
std::tuple<Tensor, Tensor> semantic_refine(const Tensor& low, const Tensor& offset,
                                           const Tensor& mask, const std::optional<Tensor>& skip,
                                           bool mask_is_logits, bool align_corners) {
  SampleForwardParams params;
  params.shape = sample_shape("low", low, offset, /*upsample=*/true, align_corners);
  const SampleShape& shape = params.shape;
  params.offset_dtype = coordinate_dtype("offset", offset, shape.dtype);
  params.mask_dtype = coordinate_dtype("mask", mask, shape.dtype);
  params.mask_is_logits = mask_is_logits;
  const Backend backend(low);
  const AggregateInputs inputs = aggregate_inputs(offset, mask);
  const DType type = accumulate_type(shape.dtype);
  std::optional<Tensor> dense_skip;
  if (skip.has_value()) {
    check_shape("skip", *skip, output_shape(shape));
    check_device("skip", *skip, low);
    SCRN_CHECK(dtype_of("skip", *skip) == shape.dtype, "skip: expected the dtype of low");
    dense_skip = dense(*skip, shape.channels_last);
  }
  const Tensor dense_low = dense(low, shape.channels_last);
  Tensor output = empty_map(low, output_shape(shape), low.scalar_type(), shape.channels_last);
  Tensor aggregated = empty_map(low, shape_of(offset), scalar_type_of(type));
  if (!is_empty(shape)) {
    params.input = dense_low.const_data_ptr();
    params.offset = inputs.offset.const_data_ptr();
    params.mask = inputs.mask.const_data_ptr();
    params.skip = dense_skip.has_value() ? dense_skip->const_data_ptr() : nullptr;
    params.output = output.mutable_data_ptr();
    params.aggregated = aggregated.mutable_data_ptr();
    backend.run(params);
  } else {
    launch_aggregate(backend, inputs, mask_is_logits, type, aggregated);
  }
  return {output, aggregated};
}

template <class Backend>
std::tuple<Tensor, Tensor, Tensor> semantic_refine_backward(
    const Tensor& grad, const Tensor& low, const Tensor& offset, const Tensor& mask,
    const Tensor& aggregated, bool mask_is_logits, bool align_corners, bool need_low,
    bool need_offset, bool need_mask, bool deterministic) {
  const SampleShape shape = sample_shape("low", low, offset, /*upsample=*/true, align_corners);
  coordinate_dtype("offset", offset, shape.dtype);
  coordinate_dtype("mask", mask, shape.dtype);
  const DType type = accumulate_type(shape.dtype);
  check_shape("aggregated", aggregated, shape_of(offset));
  check_device("aggregated", aggregated, low);
  SCRN_CHECK(dtype_of("aggregated", aggregated) == type,
             "aggregated: expected float64 for float64 features, else float32");
  const Backend backend(low);
  const AggregateInputs inputs = aggregate_inputs(offset, mask);
  const auto [grad_low, grad_aggregated] = launch_sample_backward(
      backend, shape, grad, low, aggregated, need_low, need_offset || need_mask, deterministic);
  const auto [grad_offset, grad_mask] = launch_aggregate_backward(
      backend, inputs, mask_is_logits, type, grad_aggregated, need_offset, need_mask);
  return {grad_low, grad_offset, grad_mask};
}

// Every operator's kernel for one backend, in the library `m` of STABLE_TORCH_LIBRARY_IMPL.
template <class Backend>
void register_kernels(torch::stable::detail::StableLibrary& m) {
  m.impl("aggregate_offsets", TORCH_BOX(&aggregate_offsets<Backend>));
  m.impl("aggregate_offsets_backward", TORCH_BOX(&aggregate_offsets_backward<Backend>));
  m.impl("offset_sample", TORCH_BOX(&offset_sample<Backend>));
  m.impl("offset_sample_backward", TORCH_BOX(&offset_sample_backward<Backend>));
  m.impl("semantic_refine", TORCH_BOX(&semantic_refine<Backend>));
  m.impl("semantic_refine_backward", TORCH_BOX(&semantic_refine_backward<Backend>));
}

}  // namespace scrn::srm
