"""Augmentation and preparation of ``(image, labels)`` pairs, by torchvision's transforms v2."""

from __future__ import annotations

from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from ..card import IMAGENET_MEAN, IMAGENET_STD


class RandomScale(v2.Transform):
    """Resizes by a factor that is log-uniform in ``[low, high]``."""

    def __init__(self, low: float = 0.5, high: float = 2.0) -> None:
        super().__init__()
        if not 0 < low <= high:
            raise ValueError(f"low, high: expected 0 < low <= high, got {low}, {high}")
        self.low, self.high = low, high

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = v2.functional.get_size(
            next(x for x in flat_inputs if isinstance(x, tv_tensors.Image | tv_tensors.Mask))
        )
        ratio = torch.tensor(self.high / self.low).log()
        factor = self.low * float((torch.rand(()) * ratio).exp())
        return {"size": [max(1, round(height * factor)), max(1, round(width * factor))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(v2.functional.resize, inpt, size=params["size"], antialias=True)


def _normalise(mean: tuple[float, ...], std: tuple[float, ...]) -> list[v2.Transform]:
    return [
        v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
        v2.Normalize(list(mean), list(std)),
        v2.ToPureTensor(),
    ]


def training_transform(
    crop: tuple[int, int],
    scale: tuple[float, float] = (0.5, 2.0),
    color_jitter: float = 0.0,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> v2.Compose:
    """The paper's augmentation: random scale, crop (padded with 255 labels where the image is
    smaller) and horizontal flip; colour jitter of brightness, contrast and saturation on request.
    """
    steps: list[v2.Transform] = [
        RandomScale(*scale),
        v2.RandomCrop(
            tuple(crop),
            pad_if_needed=True,
            fill={tv_tensors.Image: [round(255 * m) for m in mean], tv_tensors.Mask: 255},
        ),
        v2.RandomHorizontalFlip(),
    ]
    if color_jitter:
        steps.append(v2.ColorJitter(color_jitter, color_jitter, color_jitter, color_jitter / 8))
    return v2.Compose(steps + _normalise(mean, std))


def evaluation_transform(
    short_side: int | None = None,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> v2.Compose:
    """Normalises the image; with ``short_side`` resizes it (the labels keep their size)."""
    steps: list[v2.Transform] = []
    if short_side is not None:
        if short_side < 1:
            raise ValueError(f"short_side: expected at least 1, got {short_side}")
        steps.append(_ResizeImage(short_side))
    return v2.Compose(steps + _normalise(mean, std))


class _ResizeImage(v2.Transform):
    _transformed_types = (tv_tensors.Image,)

    def __init__(self, short_side: int) -> None:
        super().__init__()
        self.short_side = short_side

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(v2.functional.resize, inpt, size=[self.short_side], antialias=True)
