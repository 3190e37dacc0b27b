"""The depthwise units as functions: checks, choice of the backend, packing of the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .._core.checks import autocast_features, check_backend
from .._core.derivatives import apply_operator, has_tangent, refuse_forward_mode
from .._core.load import check_device
from . import autograd, eager, reference
from .checks import check_depthwise_gelu, check_large_kernel, check_multi_scale, check_out

__all__ = ["depthwise_gelu", "large_kernel_depthwise", "multi_scale_depthwise"]

_ops = torch.ops.scrn_ops


def multi_scale_depthwise(
    input: Tensor,
    local: Tensor,
    local_bias: Tensor | None,
    rows: Sequence[Tensor],
    row_biases: Sequence[Tensor | None],
    columns: Sequence[Tensor],
    column_biases: Sequence[Tensor | None],
    *,
    backend: str | None = None,
) -> Tensor:
    r"""A 5x5 depthwise convolution plus three pairs of strips of it: MSCA of SegNeXt.

    .. math:: l = k * x + b, \qquad y = l + \sum_{i=1}^{3} (c_i * (r_i * l + p_i) + q_i)

    with depthwise convolutions ``*`` and zero padding: ``l`` and every :math:`r_i * l + p_i` are
    zero outside the image, so that no bias leaks in. One kernel: no intermediate map is formed,
    and for the backward nothing but ``input`` and the weights is saved.

    Args:
        input: ``x`` [B, C, H, W] in float32, float64, float16 or bfloat16. NCHW and
            channels_last are read as they are, any other strides are made dense first.
        local: ``k`` [C, 1, 5, 5].
        local_bias: ``b`` [C], or None for none, like every bias.
        rows: ``r``, three weights [C, 1, 1, n] with odd n from 3 to 31.
        row_biases: ``p``, three of [C] or None.
        columns: ``c``, three weights [C, 1, n, 1], n being the row's.
        column_biases: ``q``, three of [C] or None.
        backend: ``None`` or ``"fused"`` for the kernel of the tensors' device, ``"eager"``
            (``conv2d``) or ``"reference"`` (the definition; twice differentiable).

    Weights and biases are float32 or of the input's dtype; sums are in float32 (float64 for
    float64), also under autocast, which casts ``input`` alone.

    Returns:
        [B, C, H, W] in the dtype and memory layout of ``input``.

    Raises:
        ValueError: a rank, shape, number of tensors, device or backend that does not fit.
        TypeError: not tensors, or dtypes that do not fit each other.
        NotImplementedError: no fused kernels for the device or the tensor layout; and, from
            autograd, second derivatives and forward mode with the fused kernels.
    """
    backend = check_backend(backend)
    if backend != "fused":
        chain = reference if backend == "reference" else eager
        return chain.multi_scale_depthwise(
            input, local, local_bias, rows, row_biases, columns, column_biases
        )
    check_multi_scale(input, local, local_bias, rows, row_biases, columns, column_biases)
    check_device(input)
    parts: list[tuple[Tensor, Tensor | None]] = [(local, local_bias)]
    for i in range(len(rows)):
        parts += [(rows[i], row_biases[i]), (columns[i], column_biases[i])]
    result: Tensor = apply_operator(
        autograd.MultiScaleDepthwise,
        _ops.multi_scale_depthwise.default,
        autocast_features(input),
        pack(parts),
        *(row.shape[3] for row in rows),
    )
    return result


def large_kernel_depthwise(
    input: Tensor,
    local: Tensor,
    local_bias: Tensor | None,
    dilated: Tensor,
    dilated_bias: Tensor | None,
    *,
    dilation: int = 3,
    backend: str | None = None,
) -> Tensor:
    r"""A 5x5 depthwise convolution and a dilated 7x7 one of its result: LKA of VAN.

    .. math:: l = k * x + b, \qquad y = d *_s l + q

    with zero padding: ``l`` is zero outside the image, its bias included. One kernel: ``l`` is
    never formed, and for the backward nothing but ``input`` and the weights is saved.

    Args:
        input: ``x`` [B, C, H, W] in float32, float64, float16 or bfloat16. NCHW and
            channels_last are read as they are, any other strides are made dense first.
        local: ``k`` [C, 1, 5, 5].
        local_bias: ``b`` [C], or None for none.
        dilated: ``d`` [C, 1, 7, 7].
        dilated_bias: ``q`` [C], or None for none.
        dilation: ``s``, from 1 to 8.
        backend: ``None`` or ``"fused"`` for the kernel of the tensors' device, ``"eager"``
            (``conv2d``) or ``"reference"`` (the definition; twice differentiable).

    Weights and biases are float32 or of the input's dtype; sums are in float32 (float64 for
    float64), also under autocast, which casts ``input`` alone.

    Returns:
        [B, C, H, W] in the dtype and memory layout of ``input``.

    Raises:
        ValueError: a rank, shape, dilation, device or backend that does not fit.
        TypeError: not tensors, or dtypes that do not fit each other; a dilation that is no int.
        NotImplementedError: no fused kernels for the device or the tensor layout; and, from
            autograd, second derivatives and forward mode with the fused kernels.
    """
    backend = check_backend(backend)
    if backend != "fused":
        chain = reference if backend == "reference" else eager
        return chain.large_kernel_depthwise(
            input, local, local_bias, dilated, dilated_bias, dilation=dilation
        )
    check_large_kernel(input, local, local_bias, dilated, dilated_bias, dilation)
    check_device(input)
    result: Tensor = apply_operator(
        autograd.LargeKernelDepthwise,
        _ops.large_kernel_depthwise.default,
        autocast_features(input),
        pack([(local, local_bias), (dilated, dilated_bias)]),
        dilation,
    )
    return result


def depthwise_gelu(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    out: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    r"""A depthwise convolution, its bias, and the exact GELU of the sum, in one pass.

    .. math:: y = z\,\Phi(z), \qquad z = k * x + b

    with zero padding, and :math:`\Phi` the normal distribution's cumulative function.

    Args:
        input: ``x`` [B, C, H, W] in float32, float64, float16 or bfloat16. NCHW and
            channels_last are read as they are, any other strides are made dense first.
        weight: ``k`` [C, 1, n, n] with n = 3, 5 or 7; float32 or of the input's dtype.
        bias: ``b`` [C], or None for none; float32 or of the input's dtype.
        out: where the result is written, of the result's shape, dtype and device; it may be
            ``input``, which is then overwritten without another map. Only
            inside ``torch.no_grad()`` or where no tensor requires a gradient.
        backend: ``None`` or ``"fused"`` for the kernel of the tensors' device, ``"eager"``
            (``conv2d``, ``gelu``) or ``"reference"`` (the definition; twice differentiable).

    Returns:
        [B, C, H, W] in the dtype and memory layout of ``input``, or ``out``. Autocast casts
        ``input``.

    Raises:
        ValueError: a rank, shape, device or backend that does not fit; ``out`` where something
            is to be differentiated.
        TypeError: not tensors, or dtypes that do not fit each other.
        NotImplementedError: no fused kernels for the device or the tensor layout; and, from
            autograd, second derivatives and forward mode with the fused kernels.
    """
    backend = check_backend(backend)
    if out is not None:
        _check_out_is_allowed(out, input, weight, bias)
    if backend != "fused":
        chain = reference if backend == "reference" else eager
        result = chain.depthwise_gelu(input, weight, bias)
        if out is None:
            return result
        check_out(out, result)
        return out.copy_(result)
    check_depthwise_gelu(input, weight, bias)
    check_device(input)
    input = autocast_features(input)
    weights = pack([(weight, bias)])
    if out is not None:
        check_out(out, input)
        _ops.depthwise_gelu_out.default(input, weights, weight.shape[3], out)
        if not torch.compiler.is_compiling():
            # Below autograd nothing else tells a graph that has saved it that it has changed.
            torch.autograd.graph.increment_version(out)
        return out
    made: Tensor = apply_operator(
        autograd.DepthwiseGelu,
        _ops.depthwise_gelu.default,
        input,
        weights,
        weight.shape[3],
    )
    return made


def _check_out_is_allowed(out: Tensor, *tensors: Tensor | None) -> None:
    if torch._C._are_functorch_transforms_active():
        raise NotImplementedError("out: expected None inside torch.func's transforms and vmap")
    if any(map(has_tangent, (out, *tensors))):
        refuse_forward_mode("depthwise_gelu")
    if torch.is_grad_enabled() and any(
        isinstance(t, Tensor) and t.requires_grad for t in (out, *tensors)
    ):
        raise ValueError(
            "out: expected no tensor that requires a gradient, or torch.no_grad(); the backward "
            "needs the input"
        )


def pack(parts: Sequence[tuple[Tensor, Tensor | None]]) -> Tensor:
    """[C, taps]: every channel's weights and bias of one convolution after the other, as the
    operators take them. A bias that is None becomes zero."""
    pieces = []
    for weight, bias in parts:
        pieces.append(weight.flatten(1))
        pieces.append(weight.new_zeros(len(weight), 1) if bias is None else bias[:, None])
    return torch.cat(pieces, 1)
