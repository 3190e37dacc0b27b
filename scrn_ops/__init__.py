"""Fused ops for semantic segmentation: aggregate offsets, sample, refine, whitened attention.

All maps are batched; offset channel 0 is x, channel 1 is y, in pixels of the output. The same
ops are in :mod:`scrn_ops.reference` (their definition) and :mod:`scrn_ops.eager` (the chain as
it is written in PyTorch today).
"""

from ._load import load_libraries
from ._version import __version__

load_libraries()  # before anything below registers something for the operators

from .attention import operators as _attention_operators  # noqa: E402, F401, I001
from . import _autocast, _meta, _vmap, autograd, eager, reference  # noqa: E402, F401
from .attention.functional import whitened_attention  # noqa: E402
from .attention.module import DisentangledNonLocal  # noqa: E402
from .functional import aggregate_offsets, offset_sample, semantic_refine  # noqa: E402
from .modules import SemanticRefinement  # noqa: E402

__all__ = [
    "DisentangledNonLocal",
    "SemanticRefinement",
    "__version__",
    "aggregate_offsets",
    "offset_sample",
    "semantic_refine",
    "whitened_attention",
]
