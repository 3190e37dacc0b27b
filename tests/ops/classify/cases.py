"""Inputs of the family's tests, and the chain in float64 by which they judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.maps import F64, generator, leaf, normal


@dataclass(frozen=True)
class Size:
    """Batch, classes, and the sizes of logits and target."""

    batch: int
    classes: int
    low: tuple[int, int]
    high: tuple[int, int]

    def __str__(self) -> str:
        (h, w), (height, width) = self.low, self.high
        return f"{self.batch}x{self.classes}x{h}x{w}-{height}x{width}"

    @property
    def whole_ratio(self) -> bool:
        return all(out % low == 0 for low, out in zip(self.low, self.high, strict=True))


# Whole ratios with and without kernels of their own, others, down, equal, sizes of 1; several
# bands of rows, and with many classes several strips of columns.
WHOLE_SIZES = (
    Size(2, 2, (9, 7), (36, 28)),
    Size(1, 19, (45, 23), (90, 46)),
    Size(1, 11, (33, 40), (132, 160)),
    Size(2, 6, (7, 5), (21, 15)),
    Size(1, 3, (5, 9), (40, 72)),
    Size(1, 5, (4, 3), (20, 18)),
    Size(2, 150, (4, 5), (16, 20)),
    Size(1, 1000, (2, 40), (4, 80)),
    Size(2, 7, (6, 9), (6, 9)),
    Size(1, 1, (5, 6), (10, 12)),
    Size(1, 4, (1, 1), (1, 1)),
    Size(1, 3, (1, 1), (4, 8)),
)
OTHER_SIZES = (
    Size(2, 11, (3, 3), (5, 5)),
    Size(1, 19, (23, 12), (45, 23)),
    Size(1, 150, (20, 3), (37, 11)),
    Size(2, 5, (9, 9), (5, 4)),
    Size(1, 1000, (3, 2), (5, 8)),
    Size(1, 3, (2, 40), (9, 13)),
    Size(1, 2, (40, 2), (13, 9)),
)
SIZES = (*WHOLE_SIZES, *OTHER_SIZES)


@dataclass(frozen=True)
class Options:
    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    weighted: bool = False
    ignored: float = 0.2  # share of the pixels

    def __str__(self) -> str:
        return self.name


OPTIONS = (
    Options("plain"),
    Options("sum", {"reduction": "sum", "ignore_index": 255}),
    Options("weight", weighted=True),
    Options("smooth", {"label_smoothing": 0.1}, weighted=True),
    Options("none", {"reduction": "none", "label_smoothing": 0.1}, weighted=True),
)


def loss_inputs(
    size: Size,
    options: Options,
    dtype: torch.dtype,
    device: str,
    *,
    layout: str = "nchw",
    labels: str = "random",
    target_dtype: torch.dtype = torch.int64,
    spread: float = 3.0,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """logits, target, and the keyword arguments of the loss."""
    numbers = generator(size, options.name, labels)
    shape = (size.batch, size.classes, *size.low)
    logits = leaf(spread * normal(shape, numbers), dtype, device, layout)
    pixels = (size.batch, *size.high)
    if labels == "random":
        target = torch.randint(0, size.classes, pixels, generator=numbers)
    else:  # in squares of four pixels
        coarse = [-(-n // 4) for n in size.high]
        target = torch.randint(0, size.classes, (size.batch, *coarse), generator=numbers)
        target = target.repeat_interleave(4, 1).repeat_interleave(4, 2)
        target = target[:, : size.high[0], : size.high[1]]
    ignore_index = options.kwargs.get("ignore_index", -100)
    if target_dtype == torch.uint8:
        ignore_index = 255
    ignored = torch.rand(pixels, generator=numbers) < options.ignored
    target = torch.where(ignored, ignore_index, target).to(target_dtype).to(device)
    kwargs = dict(options.kwargs, ignore_index=ignore_index)
    if options.weighted:
        weight = torch.rand(size.classes, generator=numbers) + 0.1
        kwargs["weight"] = weight.to(device)
    return logits, target, kwargs


def chain(logits: Tensor, target: Tensor, align_corners: bool = False, **kwargs: Any) -> Tensor:
    """What users write, in the logits' type."""
    if kwargs.get("weight") is not None:
        kwargs["weight"] = kwargs["weight"].to(logits.dtype)
    upsampled = F.interpolate(
        logits, target.shape[1:], mode="bilinear", align_corners=align_corners
    )
    return F.cross_entropy(upsampled, target.long(), **kwargs)


def loss_and_gradient(
    loss: Any, logits: Tensor, *args: Any, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """In float64 on the CPU; what comes in for a loss without a reduction is the same for all."""
    value = loss(logits, *args, **kwargs)
    grad = torch.linspace(0.5, 1.5, max(value.numel(), 2), dtype=F64)[: value.numel()]
    grad = grad.view(value.shape).to(value)
    (gradient,) = torch.autograd.grad(value, logits, grad)
    return value.detach().cpu().double(), gradient.detach().cpu().double()


def exact(logits: Tensor, target: Tensor, **kwargs: Any) -> tuple[Tensor, Tensor]:
    double = logits.detach().cpu().double().requires_grad_()
    kwargs = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in kwargs.items()}
    return loss_and_gradient(chain, double, target.cpu(), **kwargs)
