"""The operators of :mod:`scrn_ops` in ONNX's own, for ``torch.onnx.export``.

:func:`translation_table` is what that function takes as ``custom_translation_table``. A module of
this package holds each family's formulas, in operators of opset 18, the one that torch translates
to before it goes to another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .._core.fake import note_translation_table

GRID_SAMPLES = ("native", "gather")

_ops = torch.ops.scrn_ops


def translation_table(grid_sample: str = "native") -> dict[Callable[..., Any], Callable[..., Any]]:
    """What ``torch.onnx.export(..., custom_translation_table=...)`` needs to know of our ops.

    .. code-block:: python

        with torch.no_grad():
            torch.onnx.export(
                model, inputs, "model.onnx", dynamo=True, opset_version=18,
                custom_translation_table=scrn_ops.onnx.translation_table(),
            )

    Every operator of inference is in it; the losses and the backwards are not. The results are
    those of the kernels to rounding, at any size, but for NaNs: at a point that is one,
    ``"native"`` gives what the runtime's GridSample gives there, and logits that hold one get
    what its ArgMax gives. Of float64 ONNX Runtime has no convolution and no GridSample.

    Args:
        grid_sample: ``"native"`` samples by ONNX's GridSample, ``"gather"`` by four Gathers and
            arithmetic, for runtimes without it, which takes longer.

    Raises:
        ValueError: an unknown way to sample.
        ModuleNotFoundError: onnxscript is not installed.
    """
    if grid_sample not in GRID_SAMPLES:
        raise ValueError(f"grid_sample: expected 'native' or 'gather', got {grid_sample!r}")
    try:
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "scrn_ops.onnx needs onnxscript, which is not installed: pip install onnx onnxscript",
            name=error.name,
        ) from error
    from . import attention, classify, convolution, depthwise, srm

    note_translation_table()
    offset_sample, semantic_refine = srm.sampling(by_gather=grid_sample == "gather")
    return {
        _ops.aggregate_offsets.default: srm.aggregate_offsets,
        _ops.offset_sample.default: offset_sample,
        _ops.semantic_refine.default: semantic_refine,
        _ops.whitened_attention.default: attention.whitened_attention,
        _ops.upsampled_argmax.default: classify.upsampled_argmax,
        _ops.upsampled_logits.default: classify.upsampled_logits,
        _ops.multi_scale_depthwise.default: depthwise.multi_scale_depthwise,
        _ops.large_kernel_depthwise.default: depthwise.large_kernel_depthwise,
        _ops.depthwise_gelu.default: depthwise.depthwise_gelu,
        _ops.conv3x3.default: convolution.conv3x3,
    }
