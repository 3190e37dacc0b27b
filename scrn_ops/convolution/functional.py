"""The op as a function."""

from __future__ import annotations

import torch
from torch import Tensor

from .._core.checks import check_backend
from .._core.derivatives import apply_operator
from .._core.load import check_device
from . import autograd, eager, reference
from .checks import check_conv3x3, check_fused_dtype, check_packed, check_weight
from .packing import pack

__all__ = ["conv3x3", "pack_conv3x3"]

_ops = torch.ops.scrn_ops
_HALVES = (torch.float16, torch.bfloat16)


def conv3x3(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    packed: Tensor | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    backend: str | None = None,
) -> Tensor:
    r"""``clamp(conv2d(input, weight, bias, padding=1), minimum, maximum)`` with a 3x3 kernel, by
    Winograd's F(4x4, 3x3): a quarter of the multiplications, for inference on a CPU.

    The errors are twice those of a plain sum in float32 (docs/convolution.md). What is not finite
    spreads over those of 4x4 results that stand together of which it meets one. Under autocast it
    stays in float32, as does the result.

    Args:
        input: [B, C, H, W] in float32. channels_last is read as it is, other strides are brought
            into that order first.
        weight: [F, C, 3, 3].
        bias: [F], or None for none.
        packed: what :func:`pack_conv3x3` makes of ``weight``, for all calls until the weight
            changes; without it the weight is packed in every call. That it belongs to another
            weight, or to what the weight was before, goes unnoticed. It gets no gradient,
            which is the weight's.
        minimum: a lower bound of the results, or None for none; 0 is a ReLU.
        maximum: an upper bound, or None for none.
        backend: ``None`` or ``"fused"`` for the kernel, which there is on the CPU and in float32
            alone; ``"eager"`` (``conv2d``, ``clamp``) or ``"reference"`` (the definition), which
            take every dtype and device, and have no use for ``packed``.

    Returns:
        [B, F, H, W], with the fused kernel in channels_last.

    Raises:
        ValueError: a rank, shape, device, bound or backend that does not fit.
        TypeError: not tensors or numbers, or dtypes that do not fit each other.
        NotImplementedError: a device or dtype without a fused kernel; a weight, bias or
            ``packed`` that ``torch.func.vmap`` maps; and forward-mode differentiation.
    """
    backend = check_backend(backend)
    if backend != "fused":
        chain = reference if backend == "reference" else eager
        return chain.conv3x3(input, weight, bias, minimum=minimum, maximum=maximum)
    if isinstance(input, Tensor) and input.dtype in _HALVES and torch.is_autocast_enabled("cpu"):
        input = input.float()  # as it was before autocast had a layer round it
    check_fused_dtype("input", input)
    check_conv3x3(input, weight, bias, minimum, maximum)
    check_fused_dtype("weight", weight)
    check_device(input, on_cuda=False)
    if packed is None:
        packed = pack(weight)
    check_packed(packed, weight)
    result: Tensor = apply_operator(
        autograd.Conv3x3, _ops.conv3x3.default, input, weight, bias, packed, minimum, maximum
    )
    return result


def pack_conv3x3(weight: Tensor) -> Tensor:
    """The weight of :func:`conv3x3` in the order in which its kernel reads it.

    Args:
        weight: [F, C, 3, 3] in float32.

    Returns:
        [36, ceil(F / 16), C, 16], four times as many numbers, of which autograd knows nothing.

    Raises:
        ValueError: another shape.
        TypeError: not a tensor of floating point.
        NotImplementedError: another dtype than float32.
    """
    check_weight(weight)
    check_fused_dtype("weight", weight)
    return pack(weight)
