#pragma once

// The family's operators of schemas.cpp, for any backend: a class that is made for the device of a
// tensor and launches the kernels of cpu.h or cuda.h there.

#include <optional>
#include <tuple>

#include "../common/torch.h"
#include "params.h"

namespace scrn::classify {

inline ResizeShape resize_shape(const Tensor& logits, int64_t height, int64_t width,
                                bool align_corners) {
  check_map("logits", logits);
  const IntHeaderOnlyArrayRef sizes = logits.sizes();
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  SCRN_CHECK(sizes[1] >= 1 && sizes[1] < kMax, "logits: expected at least one class, got ",
             shape_text(logits));
  SCRN_CHECK(height >= 1 && height <= kMax && width >= 1 && width <= kMax,
             "size: expected a height and a width from 1 to ", kMax, ", got ", height, "x", width);
  ResizeShape shape;
  shape.batch = sizes[0];
  shape.classes = sizes[1];
  shape.in_h = static_cast<int32_t>(sizes[2]);
  shape.in_w = static_cast<int32_t>(sizes[3]);
  shape.out_h = static_cast<int32_t>(height);
  shape.out_w = static_cast<int32_t>(width);
  shape.align_corners = align_corners;
  shape.channels_last = is_channels_last(logits);
  shape.dtype = dtype_of("logits", logits);
  return shape;
}

inline LabelType label_type(const Tensor& target) {
  const ScalarType type = target.scalar_type();
  if (type == ScalarType::Byte) return LabelType::kUint8;
  if (type == ScalarType::Int) return LabelType::kInt32;
  SCRN_CHECK(type == ScalarType::Long, "target: expected dtype uint8, int32 or int64");
  return LabelType::kInt64;
}

inline Reduction reduction_of(int64_t number) {
  SCRN_CHECK(number >= 0 && number <= 2, "reduction: expected 0, 1 or 2, got ", number);
  return static_cast<Reduction>(number);
}

inline Tensor dense_as_is(const Tensor& tensor) {
  return tensor.is_contiguous()
             ? tensor
             : allocated(tensor, [&] { return torch::stable::contiguous(tensor); });
}

// The arguments that the loss and its backward share, checked; the tensors live as long as this.
struct LossInputs {
  ResizeShape shape;
  LabelType target_type;
  Tensor logits, target;
  std::optional<Tensor> weight;
};

inline LossInputs loss_inputs(const Tensor& logits, const Tensor& target,
                              const std::optional<Tensor>& weight, double label_smoothing,
                              bool align_corners) {
  const IntHeaderOnlyArrayRef sizes = target.sizes();
  SCRN_CHECK(target.layout() == torch::headeronly::Layout::Strided && sizes.size() == 3,
             "target: expected a dense [B, H, W], got ", shape_text(target));
  const ResizeShape shape = resize_shape(logits, sizes[1], sizes[2], align_corners);
  SCRN_CHECK(sizes[0] == shape.batch, "target: expected the batch of logits, ", shape.batch,
             ", got ", shape_text(target));
  check_device("target", target, logits);
  SCRN_CHECK(label_smoothing >= 0 && label_smoothing <= 1,
             "label_smoothing: expected a number from 0 to 1, got ", label_smoothing);
  std::optional<Tensor> dense_weight;
  if (weight.has_value()) {
    SCRN_CHECK(weight->sizes().size() == 1 && weight->sizes()[0] == shape.classes,
               "weight: expected a number for every class, got ", shape_text(*weight));
    check_device("weight", *weight, logits);
    SCRN_CHECK(dtype_of("weight", *weight) == accumulate_type(shape.dtype),
               "weight: expected float64 for float64 logits, else float32");
    dense_weight = dense_as_is(*weight);
  }
  return {shape, label_type(target), dense(logits, shape.channels_last), dense_as_is(target),
          dense_weight};
}

template <typename Params>
void fill_inputs(Params& params, const LossInputs& inputs, int64_t ignore_index,
                 double label_smoothing) {
  params.shape = inputs.shape;
  params.target_type = inputs.target_type;
  params.ignore_index = ignore_index;
  params.label_smoothing = label_smoothing;
  params.logits = inputs.logits.const_data_ptr();
  params.target = inputs.target.const_data_ptr();
  params.weight = inputs.weight.has_value() ? inputs.weight->const_data_ptr() : nullptr;
}

template <class Backend>
std::tuple<Tensor, Tensor, Tensor> upsampled_cross_entropy(const Tensor& logits,
                                                           const Tensor& target,
                                                           const std::optional<Tensor>& weight,
                                                           int64_t reduction, int64_t ignore_index,
                                                           double label_smoothing,
                                                           bool align_corners, bool need_gradient) {
  const LossInputs inputs = loss_inputs(logits, target, weight, label_smoothing, align_corners);
  const ResizeShape& shape = inputs.shape;
  const Backend backend(logits);
  CrossEntropyParams params;
  fill_inputs(params, inputs, ignore_index, label_smoothing);
  params.reduction = reduction_of(reduction);
  const bool reduced = params.reduction != Reduction::kNone;
  const ScalarType type = scalar_type_of(accumulate_type(shape.dtype));
  const std::array<int64_t, 3> pixels = {shape.batch, shape.out_h, shape.out_w};
  Tensor loss = new_empty(logits, {pixels.data(), reduced ? size_t{0} : size_t{3}}, type);
  const int64_t numbers = 2;
  Tensor statistics = new_empty(logits, {&numbers, 1}, ScalarType::Double);
  static_assert(sizeof(LossStatistics) == 2 * sizeof(double), "they are returned as a tensor");
  const bool keeps = reduced && need_gradient;
  Tensor gradient = gradient_of(logits, shape_of(logits), keeps, shape.channels_last);
  params.loss = loss.mutable_data_ptr();
  params.statistics = static_cast<LossStatistics*>(statistics.mutable_data_ptr());
  params.gradient = pointer_if(keeps, gradient);
  if (!reduced) torch::stable::zero_(statistics);
  if (reduced || shape.batch > 0) backend.run(params);
  return {loss, statistics, gradient};
}

inline const Tensor& needed(std::string_view name, const std::optional<Tensor>& tensor) {
  SCRN_CHECK(tensor.has_value(), name, ": expected a tensor for this reduction, got None");
  return *tensor;
}

// Of the loss without a reduction: everything is computed again.
template <class Backend>
Tensor gradient_of_losses(const Tensor& grad, const Tensor& logits, const Tensor& target,
                          const std::optional<Tensor>& weight, int64_t ignore_index,
                          double label_smoothing, bool align_corners) {
  const LossInputs inputs = loss_inputs(logits, target, weight, label_smoothing, align_corners);
  const IntHeaderOnlyArrayRef sizes = grad.sizes(), expected = target.sizes();
  SCRN_CHECK(sizes.size() == 3 && sizes[0] == expected[0] && sizes[1] == expected[1] &&
                 sizes[2] == expected[2],
             "grad: expected the shape of target, got ", shape_text(grad));
  check_device("grad", grad, logits);
  SCRN_CHECK(dtype_of("grad", grad) == accumulate_type(inputs.shape.dtype),
             "grad: expected the dtype of the loss");
  const Backend backend(logits);
  CrossEntropyBackwardParams params;
  fill_inputs(params, inputs, ignore_index, label_smoothing);
  const Tensor dense_grad = dense_as_is(grad);
  Tensor gradient = gradient_of(logits, shape_of(logits), true, inputs.shape.channels_last);
  params.grad_loss = dense_grad.const_data_ptr();
  params.gradient = gradient.mutable_data_ptr();
  if (inputs.shape.batch > 0) backend.run(params);
  return gradient;
}

// Of the mean or the sum: what the forward kept, times the gradient of the loss.
template <class Backend>
Tensor scaled_gradient(const Tensor& grad, const Tensor& gradient, const Tensor& statistics,
                       Reduction reduction) {
  check_map("gradient", gradient);
  ScaleGradientParams params;
  params.dtype = dtype_of("gradient", gradient);
  params.reduction = reduction;
  SCRN_CHECK(grad.numel() == 1, "grad: expected one number, got ", shape_text(grad));
  SCRN_CHECK(dtype_of("grad", grad) == accumulate_type(params.dtype),
             "grad: expected the dtype of the loss");
  check_device("grad", grad, gradient);
  SCRN_CHECK(statistics.numel() == 2 && statistics.scalar_type() == ScalarType::Double &&
                 statistics.is_contiguous(),
             "statistics: expected those of the forward");
  check_device("statistics", statistics, gradient);
  const Backend backend(gradient);
  const bool channels_last = is_channels_last(gradient);
  const Tensor source = dense(gradient, channels_last);
  Tensor scaled = gradient_of(gradient, shape_of(gradient), true, channels_last);
  params.count = gradient.numel();
  params.grad_loss = grad.const_data_ptr();
  params.statistics = static_cast<const LossStatistics*>(statistics.const_data_ptr());
  params.gradient = source.const_data_ptr();
  params.scaled = scaled.mutable_data_ptr();
  if (params.count > 0) backend.run(params);
  return scaled;
}

template <class Backend>
Tensor upsampled_cross_entropy_backward(const Tensor& grad, const std::optional<Tensor>& logits,
                                        const std::optional<Tensor>& target,
                                        const std::optional<Tensor>& weight,
                                        const std::optional<Tensor>& gradient,
                                        const std::optional<Tensor>& statistics, int64_t reduction,
                                        int64_t ignore_index, double label_smoothing,
                                        bool align_corners) {
  if (reduction_of(reduction) == Reduction::kNone) {
    return gradient_of_losses<Backend>(grad, needed("logits", logits), needed("target", target),
                                       weight, ignore_index, label_smoothing, align_corners);
  }
  return scaled_gradient<Backend>(grad, needed("gradient", gradient),
                                  needed("statistics", statistics), reduction_of(reduction));
}

template <class Backend>
std::tuple<Tensor, Tensor> upsampled_argmax(const Tensor& logits, int64_t height, int64_t width,
                                            bool align_corners, bool wide_labels,
                                            bool with_confidence) {
  ArgmaxParams params;
  params.shape = resize_shape(logits, height, width, align_corners);
  const ResizeShape& shape = params.shape;
  SCRN_CHECK(wide_labels || shape.classes <= 256,
             "logits: expected at most 256 classes for uint8 "
             "labels, got ",
             shape_text(logits));
  const Backend backend(logits);
  const Tensor dense_logits = dense(logits, shape.channels_last);
  const std::array<int64_t, 3> pixels = {shape.batch, shape.out_h, shape.out_w};
  const int64_t none = 0;
  Tensor labels =
      new_empty(logits, {pixels.data(), 3}, wide_labels ? ScalarType::Long : ScalarType::Byte);
  Tensor confidence = with_confidence ? new_empty(logits, {pixels.data(), 3}, ScalarType::Float)
                                      : new_empty(logits, {&none, 1}, ScalarType::Float);
  params.label_type = wide_labels ? LabelType::kInt64 : LabelType::kUint8;
  params.logits = dense_logits.const_data_ptr();
  params.labels = labels.mutable_data_ptr();
  params.confidence =
      with_confidence ? static_cast<float*>(confidence.mutable_data_ptr()) : nullptr;
  if (shape.batch > 0) backend.run(params);
  return {labels, confidence};
}

// Every operator's kernel for one backend, in the library `m` of STABLE_TORCH_LIBRARY_IMPL.
template <class Backend>
void register_kernels(torch::stable::detail::StableLibrary& m) {
  m.impl("upsampled_cross_entropy", TORCH_BOX(&upsampled_cross_entropy<Backend>));
  m.impl("upsampled_cross_entropy_backward", TORCH_BOX(&upsampled_cross_entropy_backward<Backend>));
  m.impl("upsampled_argmax", TORCH_BOX(&upsampled_argmax<Backend>));
}

}  // namespace scrn::classify
