"""The definition of the ops in plain PyTorch: what every kernel is judged by."""

from .attention.reference import whitened_attention
from .classify.reference import upsampled_argmax, upsampled_cross_entropy, upsampled_logits
from .convolution.reference import conv3x3
from .depthwise.reference import depthwise_gelu, large_kernel_depthwise, multi_scale_depthwise
from .srm.reference import aggregate_offsets, offset_sample, semantic_refine

__all__ = [
    "aggregate_offsets",
    "conv3x3",
    "depthwise_gelu",
    "large_kernel_depthwise",
    "multi_scale_depthwise",
    "offset_sample",
    "semantic_refine",
    "upsampled_argmax",
    "upsampled_cross_entropy",
    "upsampled_logits",
    "whitened_attention",
]
