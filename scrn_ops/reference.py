"""The definition of the ops in plain PyTorch: what every kernel is judged by."""

from .attention.reference import whitened_attention
from .classify.reference import upsampled_argmax, upsampled_cross_entropy
from .srm.reference import aggregate_offsets, offset_sample, semantic_refine

__all__ = [
    "aggregate_offsets",
    "offset_sample",
    "semantic_refine",
    "upsampled_argmax",
    "upsampled_cross_entropy",
    "whitened_attention",
]
