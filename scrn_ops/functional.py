"""The ops as functions."""

from .attention.functional import whitened_attention
from .classify.functional import upsampled_argmax, upsampled_cross_entropy, upsampled_logits
from .convolution.functional import conv3x3, pack_conv3x3
from .depthwise.functional import depthwise_gelu, large_kernel_depthwise, multi_scale_depthwise
from .srm.functional import aggregate_offsets, offset_sample, semantic_refine

__all__ = [
    "aggregate_offsets",
    "conv3x3",
    "depthwise_gelu",
    "large_kernel_depthwise",
    "multi_scale_depthwise",
    "offset_sample",
    "pack_conv3x3",
    "semantic_refine",
    "upsampled_argmax",
    "upsampled_cross_entropy",
    "upsampled_logits",
    "whitened_attention",
]
