"""Class probabilities and classes of an image: whole, by a sliding window, at several scales,
flipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from scrn_ops import upsampled_argmax

from ..models.network import SCRN


@dataclass(frozen=True)
class Inference:
    """How an image is evaluated.

    Args:
        window: (height, width) of the sliding window; None takes the whole image.
        stride: (rows, columns) between windows; None is two thirds of the window.
        scales: factors of the image's size; the probabilities are averaged over them.
        flip: averages with the mirrored image, too.
    """

    window: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if not self.scales or any(s <= 0 for s in self.scales):
            raise ValueError(f"scales: expected numbers above 0, got {self.scales}")
        if self.stride is not None and self.window is None:
            raise ValueError("stride: expected None without a window")
        for name in ("window", "stride"):
            value = getattr(self, name)
            if value is not None and (len(value) != 2 or min(value) < 1):
                raise ValueError(f"{name}: expected two numbers of at least 1, got {value}")
        if (
            self.window
            and self.stride
            and any(s > w for s, w in zip(self.stride, self.window, strict=True))
        ):
            raise ValueError(
                f"stride: expected at most the window {self.window}, got {self.stride}"
            )


def probabilities(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    inference: Inference | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Mean softmax over scales and flips, ``[B, classes, *size]``, fp32.

    Args:
        model: maps a normalised image ``[B, 3, h, w]`` to logits ``[B, classes, h, w]``.
        image: ``[B, 3, H, W]``, normalised.
        size: size of the result; default the image's.
    """
    inference = inference or Inference()
    size = size or (image.shape[-2], image.shape[-1])
    total: Tensor | None = None
    for scale in inference.scales:
        scaled = _resize(image, [max(1, round(n * scale)) for n in image.shape[-2:]])
        for flip in (False, True) if inference.flip else (False,):
            logits = _logits(model, scaled.flip(-1) if flip else scaled, inference)
            logits = logits.flip(-1) if flip else logits
            share = _resize(logits.float(), size).softmax(1)
            total = share if total is None else total + share
    assert total is not None
    return total / (len(inference.scales) * (2 if inference.flip else 1))


def predicted_labels(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    inference: Inference | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """The most probable classes, ``[B, *size]``, int64: the argmax of :func:`probabilities`.

    At one scale without flips neither probabilities nor logits of that size are formed.
    """
    inference = inference or Inference()
    size = size or (image.shape[-2], image.shape[-1])
    if inference.scales != (1.0,) or inference.flip:
        return probabilities(model, image, inference, size).argmax(1)
    if isinstance(model, SCRN) and inference.window is None and size == tuple(image.shape[-2:]):
        logits = model(image, full_size=False)
    else:
        logits = _logits(model, image, inference)
    backend = model.backend if isinstance(model, SCRN) else None
    labels: Any = upsampled_argmax(logits, size, backend=backend)
    return cast(Tensor, labels)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def _logits(model: Callable[[Tensor], Tensor], image: Tensor, inference: Inference) -> Tensor:
    height, width = image.shape[-2:]
    if inference.window is None:
        return model(image)
    wh, ww = min(inference.window[0], height), min(inference.window[1], width)
    if (wh, ww) == (height, width):
        return model(image)
    stride = inference.stride or tuple(max(1, 2 * n // 3) for n in inference.window)
    total: Tensor | None = None
    count = image.new_zeros(1, 1, height, width, dtype=torch.float32)
    for top in _starts(height, wh, stride[0]):
        for left in _starts(width, ww, stride[1]):
            area = (..., slice(top, top + wh), slice(left, left + ww))
            logits = model(image[area]).float()
            if total is None:
                total = logits.new_zeros(*logits.shape[:2], height, width)
            total[area] += logits
            count[area] += 1
    assert total is not None
    return total / count


def _starts(length: int, window: int, stride: int) -> list[int]:
    # The last window ends at the border instead of reaching beyond it.
    return sorted({min(s, length - window) for s in range(0, length - window + stride, stride)})
