"""Inputs, and the comparison with the reference in float64, that the op tests share."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import scrn_ops.reference

F32, F64, F16, BF16 = torch.float32, torch.float64, torch.float16, torch.bfloat16
DTYPES = (F32, F64, F16, BF16)
DENSE_LAYOUTS = ("nchw", "nhwc")
LAYOUTS = (*DENSE_LAYOUTS, "sliced", "transposed", "expanded", "sliced_nhwc")


@dataclass(frozen=True)
class Size:
    """Batch, channels, and the sizes of input and output."""

    batch: int
    channels: int
    low: tuple[int, int]
    high: tuple[int, int]

    def __str__(self) -> str:
        (h, w), (height, width) = self.low, self.high
        return f"{self.batch}x{self.channels}x{h}x{w}-{height}x{width}"


# Exact doubling, other ratios, equal sizes, sizes of 1; channels around and beyond the widths
# of vectors and tiles.
REFINE_SIZES = (
    Size(2, 5, (4, 4), (8, 8)),
    Size(1, 33, (23, 12), (45, 24)),
    Size(2, 8, (3, 9), (5, 17)),
    Size(1, 16, (7, 9), (7, 9)),
    Size(1, 1, (6, 5), (13, 16)),
    Size(3, 4, (1, 1), (1, 1)),
    Size(1, 3, (1, 1), (4, 7)),
    Size(1, 2, (1, 6), (1, 35)),
    Size(2, 3, (6, 1), (35, 1)),
    Size(1, 130, (5, 6), (10, 12)),
)
# Sampling also goes down in size.
SAMPLE_SIZES = (*REFINE_SIZES, Size(2, 6, (9, 8), (4, 5)), Size(1, 3, (1, 8), (5, 3)))


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


def refine_inputs(
    size: Size,
    dtype: torch.dtype,
    device: str,
    *,
    layout: str = "nchw",
    coordinate_dtype: torch.dtype = F32,
    is_logits: bool = True,
    spread: float = 2.0,
    seed: int = 0,
) -> list[Tensor]:
    """low, offset, mask, skip, with no sampling point so near to a cell's border that rounding
    could carry it over."""
    (h, w), (height, width) = size.low, size.high
    for attempt in range(100):
        numbers = generator(size, seed, attempt)
        low = leaf(normal((size.batch, size.channels, h, w), numbers), dtype, device, layout)
        skip_values = normal((size.batch, size.channels, height, width), numbers)
        skip = leaf(skip_values, dtype, device, layout)
        offset_values = normal((size.batch, 2, height, width), numbers) * spread
        mask_values = normal((size.batch, 9, height, width), numbers)
        if not is_logits:
            mask_values = mask_values / 3
        offset = leaf(offset_values, coordinate_dtype, device)
        mask = leaf(mask_values, coordinate_dtype, device)
        aggregated = scrn_ops.reference.aggregate_offsets(
            offset.detach().cpu().double(), mask.detach().cpu().double(), mask_is_logits=is_logits
        )
        if (aggregated - aggregated.round()).abs().min() > 3e-6:
            return [low, offset, mask, skip]
    raise AssertionError("no inputs found that stay off the borders of cells")


def sample_inputs(
    size: Size,
    dtype: torch.dtype,
    device: str,
    *,
    align_corners: bool,
    layout: str = "nchw",
    coordinate_dtype: torch.dtype = F32,
    spread: float = 2.0,
) -> list[Tensor]:
    """input, offset: as refine_inputs."""
    (h, w), (height, width) = size.low, size.high
    numbers = generator(size, align_corners)
    input = leaf(normal((size.batch, size.channels, h, w), numbers), dtype, device, layout)
    offset = (normal((size.batch, 2, height, width), numbers) * spread).to(coordinate_dtype)
    for _ in range(100):
        near = near_border(offset.double(), size.low, align_corners)
        if not near.any():
            return [input, leaf(offset, coordinate_dtype, device)]
        offset = torch.where(near, offset + 0.3, offset)
    raise AssertionError("no inputs found that stay off the borders of cells")


def near_border(offset: Tensor, in_size: tuple[int, int], align_corners: bool) -> Tensor:
    positions = sampling_positions(offset, in_size, align_corners)
    near = (positions - positions.round()).abs() < 1e-5
    for channel, dim, size in ((0, 3, in_size[1]), (1, 2, in_size[0])):
        if align_corners and tuple(offset.shape[2:]) != in_size and 1 in (size, offset.shape[dim]):
            near[:, channel] = False  # the coordinate is 0, whatever the offset
    return near


def sampling_positions(offset: Tensor, in_size: tuple[int, int], align_corners: bool) -> Tensor:
    """[B, 2, H, W]: where in the input every pixel samples, by the formulas of the docs."""
    height, width = offset.shape[2:]
    x = torch.arange(width, dtype=F64) + offset[:, 0]
    y = torch.arange(height, dtype=F64)[:, None] + offset[:, 1]
    if (height, width) != in_size:
        h, w = in_size
        if align_corners:
            x = x * ((w - 1) / (width - 1) if width > 1 else 0)
            y = y * ((h - 1) / (height - 1) if height > 1 else 0)
        else:
            x, y = (x + 0.5) * w / width - 0.5, (y + 0.5) * h / height - 0.5
    return torch.stack((x, y), 1)


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
) -> None:
    """Output and gradients against the reference evaluated in float64 on the same inputs."""
    actual, grad = values_and_gradients(op, inputs, grad_layout=grad_layout)
    doubles = [t.detach().cpu().double().requires_grad_() for t in inputs]
    output = reference(*doubles)
    expected = [output.detach(), *torch.autograd.grad(output, doubles, grad.cpu().double())]
    assert actual[0].dtype == inputs[0].dtype or names[0] == "offset"
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
