"""The attention as a function: checks, choice of the backend, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from .._core import checks
from .._core.derivatives import apply_operator
from .._core.load import check_device
from . import autograd, by_products, reference
from .checks import check_path, check_whitened_attention, is_half, takes_triton

_ops = torch.ops.scrn_ops


def whitened_attention(
    query: Tensor,
    key: Tensor,
    unary: Tensor,
    value: Tensor,
    *,
    scale: float = 1.0,
    backend: str | None = None,
    path: str | None = None,
) -> Tensor:
    r"""Attention by whitened embeddings plus attention that all queries share (Eqs. 8 and 9).

    .. math:: y_i = \sum_j \left( \mathrm{softmax}_j\, s\, (q_i - \bar q)^T (k_j - \bar k)
        + \mathrm{softmax}_j\, m_j \right) g_j

    with the means over all N queries and all M keys of an image. Means, scores, softmax and sums
    are computed in float32 at least; products of float16 and bfloat16 values have operands of
    that type where the device has units for them, cast after the means were taken off.

    Args:
        query: ``q`` [B, N, Dk].
        key: ``k`` [B, M, Dk].
        unary: ``m`` [B, M].
        value: ``g`` [B, M, Dv] in float32, float64, float16 or bfloat16. The others are in
            float32 or in value's dtype.
        scale: ``s``, for example 1 / sqrt(Dk). A number: multiply ``query`` by one that is
            learned.
        backend: ``None`` or ``"fused"`` for the kernels of the tensors' device, ``"eager"`` or
            ``"reference"``, which are both the formula as it stands (twice differentiable).
        path: of Triton's kernels, for float16 and bfloat16 on CUDA: ``"flash"``,
            ``"split_softmax"``, or ``None`` for what the table in ``docs/attention.md`` says. In
            float32 and float64 ``None``, which is matrix products.

    Returns:
        [B, N, Dv] in value's dtype, channel-major (as of a flattened NCHW map) where value is,
        else contiguous. Autocast casts ``value``.

    Raises:
        ValueError: a rank, size, device, backend or path that does not fit.
        TypeError: not tensors, or dtypes that do not fit each other; a scale that is no
            number.
        NotImplementedError: no fused kernels for the device or the tensor layout, or for the
            value's dtype by that path; and, from autograd, second derivatives and forward mode
            with the fused kernels.
    """
    backend = checks.check_backend(backend)
    checks.check_number("scale", scale, "; a learned scale goes into query")
    if backend != "fused":
        if path is not None:
            raise ValueError(f"path: expected None for backend={backend!r}, got {path!r}")
        return reference.whitened_attention(query, key, unary, value, scale=scale)
    check_whitened_attention(query, key, unary, value)
    check_device(value, compiled=False)
    value = checks.autocast_features(value)
    check_path(path, value)
    keep = _differentiated(query, key, unary, value) and (
        # The output's shared term would cost half types digits of the pairwise one. In the other
        # types, which only the interpreter takes, the backward does without it.
        is_half(value)
        if takes_triton(path, value)
        else by_products.keeps_probabilities(query, value)
    )
    output: Tensor = apply_operator(
        autograd.WhitenedAttention,
        _ops.whitened_attention.default,
        query,
        key,
        unary,
        value,
        scale,
        keep,
        path,
    )[0]
    return output


def _differentiated(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
