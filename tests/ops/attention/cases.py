"""Inputs of the attention, and the comparison with the formula in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from scrn_ops import reference

from ..common.maps import F64, generator

NAMES = ("query", "key", "unary", "value")
LAYOUTS = ("contiguous", "channel_major", "sliced", "expanded")


class Shape(NamedTuple):
    batch: int
    n: int
    m: int
    key_channels: int
    value_channels: int

    def __str__(self) -> str:
        return "x".join(map(str, self))

    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Of query, key, unary and value."""
        b, n, m, dk, dv = self
        return (b, n, dk), (b, m, dk), (b, m), (b, m, dv)


def leaf(values: Tensor, dtype: torch.dtype, device: str, layout: str = "contiguous") -> Tensor:
    """A leaf of these values that requires a gradient, with the strides of that name."""
    values = values.to(dtype=dtype, device=device)
    if layout == "channel_major" and values.dim() == 3:
        values = values.transpose(1, 2).contiguous().transpose(1, 2)
    elif layout == "sliced":
        wide = values.new_full([2 * size + 1 for size in values.shape], torch.nan)
        view = wide[tuple(slice(1, None, 2) for _ in values.shape)]
        values = view.copy_(values)
    elif layout == "expanded":
        values = values[:1].expand_as(values)
    return values.detach().requires_grad_()


def inputs(
    shape: Shape,
    dtype: torch.dtype,
    device: str,
    *,
    layout: str = "contiguous",
    values: str = "normal",
    embedding_dtype: torch.dtype | None = None,
) -> list[Tensor]:
    """query, key, unary, value, with values of that kind."""
    numbers = generator(shape, values)
    q, k, m, v = (torch.randn(size, generator=numbers, dtype=F64) for size in shape.sizes())
    q = q * shape.key_channels**-0.25
    k = k * shape.key_channels**-0.25
    if values == "far_mean":
        q, k = q + 3, k - 3
    elif values == "huge":  # scores of some 1e4
        q, k, m = q * 60, k * 60, m * 1e4
    elif values == "one_key":
        k[:, -1] = 40 * q.mean(1)
        m[:, -1] = 50
    elif values == "equal":
        q, k, m = torch.ones_like(q), torch.ones_like(k), torch.zeros_like(m)
    elif values == "tiny":
        q, k = q * 1e-4, k * 1e-4
    elif values != "normal":
        raise ValueError(values)
    other = dtype if embedding_dtype is None else embedding_dtype
    types = (other, other, other, dtype)
    return [leaf(t, d, device, layout) for t, d in zip((q, k, m, v), types, strict=True)]


def values_and_gradients(
    op: Callable[..., Tensor], tensors: Sequence[Tensor], grad_layout: str = "contiguous"
) -> tuple[list[Tensor], Tensor]:
    """The output, then the gradient of every input; and the gradient that came in."""
    output = op(*tensors)
    numbers = torch.randn(output.shape, generator=generator("gradient"), dtype=F64)
    grad = leaf(numbers, output.dtype, str(output.device), grad_layout).detach()
    return [output.detach(), *torch.autograd.grad(output, tensors, grad)], grad


def formula_in_float64(
    tensors: Sequence[Tensor], scale: float, grad: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """The output and the gradient of every input, and the inputs in float64."""
    doubles = [t.detach().cpu().double().requires_grad_() for t in tensors]
    output = reference.whitened_attention(*doubles, scale=scale)
    gradients = torch.autograd.grad(output, doubles, grad.cpu().double())
    return [output.detach(), *gradients], doubles


def assert_matches_formula(
    op: Callable[..., Tensor],
    tensors: Sequence[Tensor],
    scale: float,
    *,
    grad_layout: str = "contiguous",
    bound: Callable[[torch.dtype], float],
) -> None:
    """Output and gradients against the formula in float64 on the same numbers: the relative L2
    error of each is within ``bound`` of its type."""
    actual, grad = values_and_gradients(op, tensors, grad_layout)
    expected, doubles = formula_in_float64(tensors, scale, grad)
    sources = (tensors[3], *tensors)
    for name, got, want, source in zip(("output", *NAMES), actual, expected, sources, strict=True):
        assert got.dtype == source.dtype, name
        assert got.shape == want.shape, name
        check = relative_error(got, want, scale_of(name, doubles, grad))
        limit = bound(source.dtype)
        assert check <= limit, f"{name}: relative error {check:.3g} > {limit:.3g}"


def scale_of(name: str, doubles: Sequence[Tensor], grad: Tensor) -> float:
    """What a gradient that cancels altogether is small against."""
    if name in ("output", "value"):
        return 0.0
    q, k, _, v = (t.detach() for t in doubles)
    grad = grad.cpu().double()
    whitened = {"query": k - k.mean(1, keepdim=True), "key": q - q.mean(1, keepdim=True)}
    if v.shape[1] == 1:
        # The softmax of a single key is constant, so its gradients are zero: each is a sum, over
        # the queries, of differences of two equal products of grad and v, whose roundings are
        # independent and add up by their squares. The query's is a product with k minus its own
        # mean, which is zero in any arithmetic: nothing is left to round.
        differences = 2 * grad.square() @ v.square().transpose(1, 2)
        if name != "unary":
            differences = differences * whitened[name].square().sum(2, keepdim=True)
        return 1e-2 * float(differences.sum().sqrt())
    outer = grad.norm() * v.norm() / max(v.shape[1], 1) ** 0.5
    if name == "unary":
        return 1e-3 * float(outer)
    return 1e-3 * float(outer * whitened[name].abs().max()) if v.numel() else 0.0


def relative_error(actual: Tensor, expected: Tensor, floor: float = 0.0) -> float:
    """Relative L2 error; NaN must be where NaN is expected."""
    if expected.numel() == 0:
        return 0.0
    got = actual.detach().cpu().double()
    assert torch.equal(got.isnan(), expected.isnan())
    error = (got - expected).nan_to_num(0)
    norm = max(float(expected.nan_to_num(0).norm()), floor, 1e-30)
    return float(error.norm()) / norm
