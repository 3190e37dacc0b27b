"""The ops as functions: checks, choice of the backend, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from .._core import checks
from .._core.derivatives import apply_operator
from .._core.load import check_device
from . import autograd, eager, reference
from .checks import check_aggregate_offsets, check_offset_sample, check_semantic_refine

__all__ = ["aggregate_offsets", "offset_sample", "semantic_refine"]

_ops = torch.ops.scrn_ops


def aggregate_offsets(
    offset: Tensor, mask: Tensor, *, mask_is_logits: bool = False, backend: str | None = None
) -> Tensor:
    r"""Every pixel's offset as a weighted sum of those of its 3x3 neighbourhood (Eq. 3).

    .. math:: D(p) = \sum_{k=0}^{8} m_k(p)\, d(p + r_k), \qquad r_k = (k \bmod 3 - 1,
        \lfloor k / 3 \rfloor - 1)

    with :math:`d = 0` outside the map: neighbour ``k = (dy + 1) * 3 + dx + 1``.

    Args:
        offset: ``d`` [B, 2, H, W]; channel 0 is x, channel 1 is y.
        mask: ``m`` [B, 9, H, W].
        mask_is_logits: take the softmax of ``mask`` over its 9 channels as the weights.
        backend: ``None`` or ``"fused"`` for the kernels of the tensors' device, ``"eager"``
            (``unfold``) or ``"reference"`` (the definition; twice differentiable).

    Both in any of float32, float64, float16 and bfloat16, independently.

    Returns:
        [B, 2, H, W], contiguous; float64 if either input is, else float32.

    Raises:
        ValueError: a rank, size, number of channels, device or backend that does not fit.
        TypeError: not tensors, or of another dtype; a flag that is no bool.
        NotImplementedError: no fused kernels for the device or the tensor layout; and, from
            autograd, second derivatives and forward mode with the fused kernels.
    """
    backend = checks.check_backend(backend)
    checks.check_flag("mask_is_logits", mask_is_logits)
    if backend == "reference":
        return reference.aggregate_offsets(offset, mask, mask_is_logits=mask_is_logits)
    if backend == "eager":
        return eager.aggregate_offsets(offset, mask, mask_is_logits=mask_is_logits)
    check_aggregate_offsets(offset, mask)
    check_device(offset)
    result: Tensor = apply_operator(
        autograd.AggregateOffsets, _ops.aggregate_offsets.default, offset, mask, mask_is_logits
    )
    return result


def offset_sample(
    input: Tensor, offset: Tensor, *, align_corners: bool = True, backend: str | None = None
) -> Tensor:
    r"""Bilinear samples of ``input``, one for every pixel of ``offset``, zero outside (Eq. 4).

    .. math:: y(p) = \sum_q x(q)\, \max(0, 1 - |s_x(p) - q_x|)\, \max(0, 1 - |s_y(p) - q_y|)

    This is the "flow warp" of alignment and optical-flow models, without a grid in memory.
    Offsets are in pixels of the output. Where the input has the output's size, the sampling
    point is :math:`s_x = x + d_x`; where not,

    - :math:`s_x = (x + d_x)\,(w - 1) / (W - 1)` with ``align_corners`` (0 where W = 1),
    - :math:`s_x = (x + d_x + \tfrac12)\, w / W - \tfrac12` without,

    and y alike. A point that is NaN or infinite is outside: value 0, gradient 0.

    Models that warp on a normalised grid have their flow in other units. As an offset it is

    - SFNet (flow divided by W and H of the output, ``align_corners=True``):
      flow_x * (W - 1) / (2 * W), flow_y * (H - 1) / (2 * H);
    - AlignSeg as published (divided by w and h of the input, ``align_corners=True``, which was
      ``grid_sample``'s behaviour then): flow_x * (W - 1) / (2 * w), flow_y * (H - 1) / (2 * h);
    - AlignSeg as its authors recommend since (divided by (W - 1) / 2 and (H - 1) / 2), and
      optical flow in pixels with ``align_corners=True`` (PWC-Net): the flow itself.

    Args:
        input: [B, C, h, w] in float32, float64, float16 or bfloat16. NCHW and channels_last
            are read as they are, any other strides are made dense first.
        offset: [B, 2, H, W], channel 0 is x, channel 1 is y; float32 or of the input's dtype.
        align_corners: the convention where the sizes differ; without effect where not.
        backend: ``None`` or ``"fused"`` for the kernels of the tensors' device, ``"eager"``
            (``grid_sample``) or ``"reference"`` (the definition; twice differentiable).

    Returns:
        [B, C, H, W] in the dtype and memory layout of ``input``. Autocast casts ``input``.

    Raises:
        ValueError: a rank, size, number of channels, device or backend that does not fit.
        TypeError: not tensors, or dtypes that do not fit each other; a flag that is no bool.
        NotImplementedError: no fused kernels for the device or the tensor layout; and, from
            autograd, second derivatives and forward mode with the fused kernels.
    """
    backend = checks.check_backend(backend)
    checks.check_flag("align_corners", align_corners)
    if backend == "reference":
        return reference.offset_sample(input, offset, align_corners=align_corners)
    if backend == "eager":
        return eager.offset_sample(input, offset, align_corners=align_corners)
    check_offset_sample(input, offset)
    check_device(input)
    result: Tensor = apply_operator(
        autograd.OffsetSample,
        _ops.offset_sample.default,
        checks.autocast_features(input),
        offset,
        align_corners,
    )
    return result


def semantic_refine(
    low: Tensor,
    offset: Tensor,
    mask: Tensor,
    skip: Tensor | None = None,
    *,
    mask_is_logits: bool = False,
    align_corners: bool = False,
    backend: str | None = None,
) -> Tensor:
    r"""Upsamples ``low`` and samples it at aggregated offsets, plus ``skip`` (Eqs. 3 and 4).

    .. math:: y(p) = U(p + D(p)) + F(p)

    with ``U`` the bilinear upsampling of ``low`` to (H, W), sampled bilinearly with zeros
    outside, ``D`` the result of :func:`aggregate_offsets`, and ``F`` the ``skip``. One kernel:
    ``U`` is never formed. A point that is NaN or infinite is outside: value 0, gradient 0
    towards ``D``.

    Args:
        low: [B, C, h, w] with h <= H and w <= W, in float32, float64, float16 or bfloat16.
            NCHW and channels_last are read as they are, any other strides are made dense first.
        offset: ``d`` [B, 2, H, W] in pixels of the output, channel 0 is x, channel 1 is y;
            float32 or of low's dtype.
        mask: ``m`` [B, 9, H, W]; float32 or of low's dtype.
        skip: ``F`` [B, C, H, W] in low's dtype, or None for none.
        mask_is_logits: take the softmax of ``mask`` over its 9 channels as the weights.
        align_corners: the convention of the upsampling, as in
            :func:`torch.nn.functional.interpolate`.
        backend: ``None`` or ``"fused"`` for the kernel of the tensors' device, ``"eager"``
            (``interpolate``, ``unfold``, ``grid_sample``, add) or ``"reference"`` (the
            definition; twice differentiable).

    Returns:
        [B, C, H, W] in the dtype and memory layout of ``low``. Autocast casts ``low`` and
        ``skip``.

    Raises:
        ValueError: a rank, size, number of channels, device or backend that does not fit.
        TypeError: not tensors, or dtypes that do not fit each other; a flag that is no bool.
        NotImplementedError: no fused kernels for the device or the tensor layout; and, from
            autograd, second derivatives and forward mode with the fused kernels.
    """
    backend = checks.check_backend(backend)
    checks.check_flag("mask_is_logits", mask_is_logits)
    checks.check_flag("align_corners", align_corners)
    if backend != "fused":
        chain = reference if backend == "reference" else eager
        return chain.semantic_refine(
            low, offset, mask, skip, mask_is_logits=mask_is_logits, align_corners=align_corners
        )
    check_semantic_refine(low, offset, mask, skip)
    check_device(low)
    dtype = checks.autocast_dtype(low)  # skip's, too, as the checks made sure
    output: Tensor = apply_operator(
        autograd.SemanticRefine,
        _ops.semantic_refine.default,
        checks.autocast_features(low, dtype),
        offset,
        mask,
        None if skip is None else checks.autocast_features(skip, dtype),
        mask_is_logits,
        align_corners,
    )[0]
    return output
