"""The definition of the ops in plain PyTorch: what every kernel is judged by."""

from .attention.reference import whitened_attention
from .srm.reference import aggregate_offsets, offset_sample, semantic_refine

__all__ = ["aggregate_offsets", "offset_sample", "semantic_refine", "whitened_attention"]
