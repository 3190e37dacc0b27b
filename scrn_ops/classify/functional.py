"""The ops as functions: checks, choice of the backend, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._core.checks import check_backend, check_flag, compute_dtype
from .._core.derivatives import apply_operator
from .._core.load import check_device
from . import autograd, checks, eager, reference

__all__ = ["upsampled_argmax", "upsampled_cross_entropy", "upsampled_logits"]

_ops = torch.ops.scrn_ops


def upsampled_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    align_corners: bool = False,
    backend: str | None = None,
) -> Tensor:
    r"""``cross_entropy(interpolate(logits, target's size, mode="bilinear"), target)`` without the
    upsampled logits, their log-softmax and their gradient, which are never formed.

    .. math:: \ell(p) = w_t \left( \log \sum_k e^{z_k(p)} - z_t(p) \right), \qquad
        z = \mathrm{interpolate}(x), \quad t = \mathrm{target}(p)

    The target may have any size: larger than the logits, smaller, or the same. Where the mean or
    the sum is differentiated, the forward computes the gradient as well, at the size of the
    logits, and the backward scales it; for ``"none"`` the backward computes everything again.
    Results are the same bits for any number of threads, and on every run.

    Args:
        logits: ``x`` [B, K, h, w] in float32, float64, float16 or bfloat16. NCHW and
            channels_last are read as they are, any other strides are made dense first.
        target: [B, H, W] in uint8, int32 or int64: classes from 0 to K - 1, or ``ignore_index``.
        weight: ``w`` [K], a factor for every class; it has no gradient.
        ignore_index: the label of pixels without a class.
        reduction: ``"mean"`` (divided by the sum of the valid pixels' weights), ``"sum"`` or
            ``"none"``.
        label_smoothing: the share of the uniform distribution in the target.
        align_corners: as of :func:`torch.nn.functional.interpolate`.
        backend: ``None`` or ``"fused"`` for the kernels of the tensors' device, ``"eager"`` (the
            chain) or ``"reference"`` (the definition; twice differentiable).

    Returns:
        A scalar, or [B, H, W] for ``"none"``: in float64 for float64 logits, else in float32,
        also for half types. The mean is NaN, and its gradient zero, where no pixel is valid. A
        class that is -inf everywhere has probability 0, where ``interpolate`` makes NaN of it
        at the borders. Autocast changes nothing.

    Raises:
        ValueError: a rank, size, device, reduction or backend that does not fit.
        TypeError: not tensors, or of another dtype; an option of another type.
        RuntimeError: on the CPU, a label that is no class, with its place. On CUDA, where torch's
            own loss ends the process's use of the device, such a label makes the loss NaN. The
            other backends raise torch's IndexError, without the place.
        NotImplementedError: no fused kernels for the device or the tensor layout; and, from
            autograd, second derivatives and forward mode with the fused kernels.
    """
    backend = check_backend(backend)
    if backend != "fused":
        chain = reference if backend == "reference" else eager
        return chain.upsampled_cross_entropy(
            logits,
            target,
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
            align_corners=align_corners,
        )
    checks.check_options(reduction, ignore_index, label_smoothing, align_corners)
    checks.check_cross_entropy(logits, target, weight)
    checks.check_weight_gradient(weight)
    check_device(logits)
    dtype = compute_dtype(logits)
    if weight is not None and weight.dtype != dtype:
        weight = weight.to(dtype)
    loss: Tensor = apply_operator(
        autograd.UpsampledCrossEntropy,
        _ops.upsampled_cross_entropy.default,
        logits,
        target,
        weight,
        checks.REDUCTIONS.index(reduction),
        ignore_index,
        label_smoothing,
        align_corners,
        _differentiated(logits),
    )[0]
    return loss


def _differentiated(logits: Tensor) -> bool:
    """Whether a gradient may be asked for. A sample that vmap hands out does not say so."""
    transformed = torch._C._are_functorch_transforms_active()
    return torch.is_grad_enabled() and (logits.requires_grad or transformed)


def upsampled_argmax(
    logits: Tensor,
    size: Sequence[int],
    *,
    align_corners: bool = False,
    with_confidence: bool = False,
    dtype: torch.dtype = torch.int64,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""``interpolate(logits, size, mode="bilinear").argmax(1)`` without the upsampled logits.

    Args:
        logits: [B, K, h, w] in float32, float64, float16 or bfloat16. NCHW and channels_last are
            read as they are, any other strides are made dense first. They get no gradient.
        size: (H, W) of the result: larger than the logits, smaller, or the same. Where
            ``torch.jit.trace`` follows it, the result is that of ``"eager"``.
        align_corners: as of :func:`torch.nn.functional.interpolate`.
        with_confidence: also give the largest softmax probability of every pixel.
        dtype: of the labels, ``torch.int64``, or ``torch.uint8`` for up to 256 classes.
        backend: ``None`` or ``"fused"`` for the kernels of the tensors' device, ``"eager"`` (the
            chain) or ``"reference"`` (the definition).

    Returns:
        The labels [B, H, W], and with ``with_confidence`` the probabilities [B, H, W] in float32.
        Of equal values the first wins, and NaN is the largest, as for ``argmax``.

    Raises:
        ValueError: a rank, size, label type or backend that does not fit.
        TypeError: not a tensor, or of another dtype; an option of another type.
        NotImplementedError: no fused kernels for the device or the tensor layout.
    """
    backend = check_backend(backend)
    check_flag("align_corners", align_corners)
    check_flag("with_confidence", with_confidence)
    if backend != "fused":
        chain = reference if backend == "reference" else eager
        return chain.upsampled_argmax(
            logits,
            size,
            align_corners=align_corners,
            with_confidence=with_confidence,
            dtype=dtype,
        )
    checks.check_logits(logits)
    checks.check_label_dtype(dtype, logits.shape[1])
    height, width = checks.check_size(size)
    if _is_traced(height, width):
        options = {"align_corners": align_corners, "with_confidence": with_confidence}
        return eager.upsampled_argmax(logits, (height, width), dtype=dtype, **options)
    check_device(logits)
    result: Any = _ops.upsampled_argmax.default(
        logits.detach(), height, width, align_corners, dtype == torch.int64, with_confidence
    )
    return result if with_confidence else result[0]


def _is_traced(*size: Any) -> bool:
    """Whether torch.jit.trace is to follow the size: of our operators it would write down what the
    size was."""
    return any(isinstance(length, Tensor) for length in size)


def upsampled_logits(
    logits: Tensor,
    size: Sequence[int],
    *,
    align_corners: bool = False,
    backend: str | None = None,
) -> Tensor:
    r"""``interpolate(logits, size, mode="bilinear")`` on a CPU, for whoever needs the logits, or
    any other map, at full size: on all threads, where PyTorch uses one for an image in
    channels_last. To train by a loss of them take :func:`upsampled_cross_entropy`, which needs no
    logits at full size; the backward of this op is PyTorch's.

    A process that makes such large results again and again calls :func:`scrn.keep_freed_memory`
    first: otherwise the system maps each of them anew, which takes longer than the interpolation.

    Args:
        logits: [B, K, h, w] in float32, float64, float16 or bfloat16. NCHW and channels_last are
            read as they are, any other strides are made dense first.
        size: (H, W) of the result: larger than the logits, smaller, or the same. Where
            ``torch.jit.trace`` follows it, the result is that of ``"eager"``, and so it is in a
            compiled program that differentiates.
        align_corners: as of :func:`torch.nn.functional.interpolate`.
        backend: ``None`` or ``"fused"`` for the kernel, which there is on the CPU alone;
            ``"eager"`` (``interpolate``), which a model for both devices takes where
            ``logits.is_cuda``, or ``"reference"`` (the definition).

    Returns:
        [B, K, H, W] in the dtype of the logits, rounded once. The kernel's has their layout, too,
        and there a neighbour without a share does not count, where the other backends make NaN of
        an infinite one. Gradients are PyTorch's, and twice differentiable.

    Raises:
        ValueError: a rank, size or backend that does not fit.
        TypeError: not a tensor, or of another dtype; an option of another type.
        NotImplementedError: a device or a tensor layout without a fused kernel; and, from
            autograd, forward-mode differentiation with the fused kernel.
    """
    backend = check_backend(backend)
    check_flag("align_corners", align_corners)
    if backend != "fused":
        chain = reference if backend == "reference" else eager
        return chain.upsampled_logits(logits, size, align_corners=align_corners)
    checks.check_logits(logits)
    height, width = checks.check_size(size)
    differentiated = torch.is_grad_enabled() and logits.requires_grad
    # The fake of PyTorch's backward takes no symbolic sizes, that of the chain has none.
    if _is_traced(height, width) or (torch.compiler.is_compiling() and differentiated):
        return eager.upsampled_logits(logits, (height, width), align_corners=align_corners)
    check_device(logits, on_cuda=False)
    result: Tensor = apply_operator(
        autograd.UpsampledLogits,
        _ops.upsampled_logits.default,
        *(logits, height, width, align_corners),
    )
    return result
