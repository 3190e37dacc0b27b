"""The ops as functions."""

from .attention.functional import whitened_attention
from .depthwise.functional import depthwise_gelu, large_kernel_depthwise, multi_scale_depthwise
from .srm.functional import aggregate_offsets, offset_sample, semantic_refine

__all__ = [
    "aggregate_offsets",
    "depthwise_gelu",
    "large_kernel_depthwise",
    "multi_scale_depthwise",
    "offset_sample",
    "semantic_refine",
    "whitened_attention",
]
