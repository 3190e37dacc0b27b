"""The ops as functions."""

from .attention.functional import whitened_attention
from .srm.functional import aggregate_offsets, offset_sample, semantic_refine

__all__ = ["aggregate_offsets", "offset_sample", "semantic_refine", "whitened_attention"]
