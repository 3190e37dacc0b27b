"""Fused ops for semantic segmentation: aggregate offsets, sample, refine, whitened attention.

All maps are batched; offset channel 0 is x, channel 1 is y, in pixels of the output. The same
ops are in :mod:`scrn_ops.reference` (their definition) and :mod:`scrn_ops.eager` (the chain as
it is written in PyTorch today).
"""

import sys as _sys

from ._load import load_libraries
from ._version import __version__

try:
    load_libraries()  # before anything below registers something for the operators
except ImportError as _error:
    # `python -m scrn_ops.doctor` imports the package before it runs the module, and should
    # report the failure, not die of it. While the package is imported, argv[0] is "-m".
    if _sys.argv[:1] != ["-m"] or "scrn_ops.doctor" not in _sys.orig_argv:
        raise
    from . import doctor as _doctor

    _sys.exit(_doctor.main(failure=_error))

from .attention import operators as _attention_operators  # noqa: F401, I001
from . import _autocast, _meta, _vmap, autograd, eager, reference  # noqa: F401
from .attention.functional import whitened_attention
from .attention.module import DisentangledNonLocal
from .depthwise import operators as _depthwise_operators  # noqa: F401
from .depthwise.functional import depthwise_gelu, large_kernel_depthwise, multi_scale_depthwise
from .functional import aggregate_offsets, offset_sample, semantic_refine
from .modules import SemanticRefinement

__all__ = [
    "DisentangledNonLocal",
    "SemanticRefinement",
    "__version__",
    "aggregate_offsets",
    "depthwise_gelu",
    "large_kernel_depthwise",
    "multi_scale_depthwise",
    "offset_sample",
    "semantic_refine",
    "whitened_attention",
]
