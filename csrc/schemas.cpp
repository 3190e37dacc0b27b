// The operators' schemas. They are frozen: exported programs store them.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(scrn_ops, m) {
  m.def("aggregate_offsets(Tensor offset, Tensor mask, bool mask_is_logits=False) -> Tensor");
  m.def(
      "aggregate_offsets_backward(Tensor grad, Tensor offset, Tensor mask, bool mask_is_logits, "
      "bool need_offset, bool need_mask) -> (Tensor grad_offset, Tensor grad_mask)");
  m.def("offset_sample(Tensor input, Tensor offset, bool align_corners=True) -> Tensor");
  m.def(
      "offset_sample_backward(Tensor grad, Tensor input, Tensor offset, bool align_corners, "
      "bool need_input, bool need_offset, bool deterministic) "
      "-> (Tensor grad_input, Tensor grad_offset)");
  m.def(
      "semantic_refine(Tensor low, Tensor offset, Tensor mask, Tensor? skip=None, "
      "bool mask_is_logits=False, bool align_corners=False) -> (Tensor output, Tensor aggregated)");
  m.def(
      "semantic_refine_backward(Tensor grad, Tensor low, Tensor offset, Tensor mask, "
      "Tensor aggregated, bool mask_is_logits, bool align_corners, bool need_low, "
      "bool need_offset, bool need_mask, bool deterministic) "
      "-> (Tensor grad_low, Tensor grad_offset, Tensor grad_mask)");
  m.def(
      "upsampled_cross_entropy(Tensor logits, Tensor target, Tensor? weight=None, int reduction=1, "
      "int ignore_index=-100, float label_smoothing=0.0, bool align_corners=False, "
      "bool need_gradient=False) -> (Tensor loss, Tensor statistics, Tensor gradient)");
  m.def(
      "upsampled_cross_entropy_backward(Tensor grad, Tensor? logits, Tensor? target, "
      "Tensor? weight, Tensor? gradient, Tensor? statistics, int reduction, int ignore_index, "
      "float label_smoothing, bool align_corners) -> Tensor");
  m.def(
      "upsampled_argmax(Tensor logits, SymInt height, SymInt width, bool align_corners=False, "
      "bool wide_labels=True, bool with_confidence=False) -> (Tensor labels, Tensor confidence)");
  m.def(
      "upsampled_logits(Tensor logits, SymInt height, SymInt width, bool align_corners=False) "
      "-> Tensor");

  m.def("multi_scale_depthwise(Tensor input, Tensor weights, int n0, int n1, int n2) -> Tensor");
  m.def(
      "multi_scale_depthwise_backward(Tensor grad, Tensor input, Tensor weights, int n0, int n1, "
      "int n2, bool need_input, bool need_weights) -> (Tensor grad_input, Tensor grad_weights)");
  m.def("large_kernel_depthwise(Tensor input, Tensor weights, int dilation) -> Tensor");
  m.def(
      "large_kernel_depthwise_backward(Tensor grad, Tensor input, Tensor weights, int dilation, "
      "bool need_input, bool need_weights) -> (Tensor grad_input, Tensor grad_weights)");
  m.def("depthwise_gelu(Tensor input, Tensor weights, int size) -> Tensor");
  m.def("depthwise_gelu_out(Tensor input, Tensor weights, int size, Tensor(a!) out) -> ()");
  m.def(
      "depthwise_gelu_backward(Tensor grad, Tensor input, Tensor weights, int size, "
      "bool need_input, bool need_weights) -> (Tensor grad_input, Tensor grad_weights)");

  m.def(
      "conv3x3(Tensor input, Tensor weight, Tensor? bias, Tensor packed, float? minimum=None, "
      "float? maximum=None) -> Tensor");

  // Their kernels are Python's, scrn_ops/attention/operators.py: a process without Python has none.
  m.def(
      "whitened_attention(Tensor query, Tensor key, Tensor unary, Tensor value, float scale=1.0, "
      "bool keep_probabilities=False, str? path=None) "
      "-> (Tensor output, Tensor log_sum_exp, Tensor shared, Tensor probabilities)");
  m.def(
      "whitened_attention_backward(Tensor grad, Tensor query, Tensor key, Tensor unary, "
      "Tensor value, Tensor output, Tensor log_sum_exp, Tensor shared, Tensor probabilities, "
      "float scale, bool need_query, bool need_key, bool need_unary, bool need_value) "
      "-> (Tensor grad_query, Tensor grad_key, Tensor grad_unary, Tensor grad_value)");
}
