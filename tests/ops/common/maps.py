"""Maps for the tests of any operator, and the comparison with its reference in float64."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

F32, F64, F16, BF16 = torch.float32, torch.float64, torch.float16, torch.bfloat16
DTYPES = (F32, F64, F16, BF16)
DENSE_LAYOUTS = ("nchw", "nhwc")
LAYOUTS = (*DENSE_LAYOUTS, "sliced", "transposed", "expanded", "sliced_nhwc")


def generator(*seed: object) -> torch.Generator:
    """The same numbers for the same seed, on every version of Python."""
    return torch.Generator().manual_seed(zlib.crc32(repr(seed).encode()))


def normal(shape: Sequence[int], numbers: torch.Generator) -> Tensor:
    return torch.randn(tuple(shape), generator=numbers, dtype=F64)


def leaf(values: Tensor, dtype: torch.dtype, device: str, layout: str = "nchw") -> Tensor:
    """A leaf of these values that requires a gradient, with the strides of that name."""
    values = values.to(dtype=dtype, device=device)
    b, c, h, w = values.shape
    if layout == "nchw":
        out = values.contiguous()
    elif layout == "nhwc":
        out = values.clone(memory_format=torch.channels_last)
    elif layout == "sliced":
        out = torch.full((b + 1, c + 2, h + 3, 2 * w), torch.nan, dtype=dtype, device=device)
        out = out[1:, 1:-1, 2:-1, ::2].copy_(values)
    elif layout == "sliced_nhwc":
        out = torch.full((b, h + 1, w + 2, c + 3), torch.nan, dtype=dtype, device=device)
        out = out[:, 1:, 1:-1, :c].permute(0, 3, 1, 2).copy_(values)
    elif layout == "transposed":
        out = torch.empty((w, h, b, c), dtype=dtype, device=device).permute(2, 3, 1, 0)
        out = out.copy_(values)
    elif layout == "expanded":
        out = values[:, :1].expand(b, c, h, w)
    else:
        raise ValueError(layout)
    assert out.shape == values.shape
    return out.detach().requires_grad_()


def values_and_gradients(
    op: Callable[..., Tensor], inputs: Sequence[Tensor], seed: int = 0, grad_layout: str = "nchw"
) -> tuple[list[Tensor], Tensor]:
    """The output, then the gradient of every input; and the gradient that came in."""
    output = op(*inputs)
    numbers = generator("gradient", seed)
    values = normal(output.shape, numbers)
    grad = leaf(values, output.dtype, str(output.device), grad_layout).detach()
    return [output.detach(), *torch.autograd.grad(output, inputs, grad)], grad


def assert_matches_reference(
    op: Callable[..., Tensor],
    reference: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    names: Sequence[str],
    grad_layout: str = "nchw",
    output_like: int | None = 0,
) -> None:
    """Output and gradients against the reference evaluated in float64 on the same inputs.

    The output has the type of the input number ``output_like``, or None where several decide it.
    """
    actual, grad = values_and_gradients(op, inputs, grad_layout=grad_layout)
    doubles = [t.detach().cpu().double().requires_grad_() for t in inputs]
    output = reference(*doubles)
    expected = [output.detach(), *torch.autograd.grad(output, doubles, grad.cpu().double())]
    assert output_like is None or actual[0].dtype == inputs[output_like].dtype
    for name, got, want, source in zip(
        ("output", *names), actual, expected, (None, *inputs), strict=True
    ):
        assert source is None or got.dtype == source.dtype, name
        assert_close(name, got, want)


def assert_close(name: str, actual: Tensor, expected: Tensor) -> None:
    """`expected` is float64. The bounds are those that the documentation promises."""
    got = actual.detach().cpu().double()
    assert got.shape == expected.shape, f"{name}: {got.shape} instead of {expected.shape}"
    if expected.numel() == 0:
        return
    error = (got - expected).abs()
    largest = expected.abs().max()
    if actual.dtype == F64:
        assert error.max() <= 1e-12 * max(largest, 1), f"{name}: {error.max():.3g}"
    elif actual.dtype == F32:
        # Where everything cancels there is no norm to be relative to.
        relative = error.norm() / expected.norm().clamp(min=1e-30)
        assert relative <= 1e-6 or error.max() <= 1e-7, f"{name}: relative L2 {relative:.3g}"
        bound = 2e-5 * largest + 1e-7
        assert error.max() <= bound, f"{name}: {error.max():.3g} > {bound:.3g}"
    else:
        rounding = (expected.to(actual.dtype).double() - expected).abs()
        # The second term is what float32 accumulation may add.
        norm_bound = 1.5 * rounding.norm() + 1e-6 * expected.norm()
        assert error.norm() <= norm_bound, f"{name}: {error.norm():.3g} > {norm_bound:.3g}"
        bound = 1.5 * rounding.max() + 2e-5 * largest
        assert error.max() <= bound, f"{name}: {error.max():.3g} > {bound:.3g}"
