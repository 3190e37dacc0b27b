"""The ops as chains of PyTorch's own operators, as they are written today: the baseline of every
speed figure."""

from .attention.reference import whitened_attention  # the chain of users is the definition
from .classify.eager import upsampled_argmax, upsampled_cross_entropy, upsampled_logits
from .convolution.eager import conv3x3
from .depthwise.eager import depthwise_gelu, large_kernel_depthwise, multi_scale_depthwise
from .srm.eager import aggregate_offsets, offset_sample, semantic_refine

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
