"""Fused ops for semantic segmentation: refinement by offsets, whitened attention, loss and labels
of logits that are upsampled, depthwise units, 3x3 convolutions.

All maps are batched; offset channel 0 is x, channel 1 is y, in pixels of the output. The same
ops are in :mod:`scrn_ops.reference` (their definition) and :mod:`scrn_ops.eager` (the chain as
it is written in PyTorch today).
"""

import sys as _sys

from ._core.load import load_libraries
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

from . import autograd, eager, reference  # noqa: F401
from .functional import (
    aggregate_offsets,
    conv3x3,
    depthwise_gelu,
    large_kernel_depthwise,
    multi_scale_depthwise,
    offset_sample,
    pack_conv3x3,
    semantic_refine,
    upsampled_argmax,
    upsampled_cross_entropy,
    upsampled_logits,
    whitened_attention,
)
from .modules import DisentangledNonLocal, SemanticRefinement, UpsampledCrossEntropy

__all__ = [
    "DisentangledNonLocal",
    "SemanticRefinement",
    "UpsampledCrossEntropy",
    "__version__",
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
