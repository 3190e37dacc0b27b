"""One image through a saved model: what goes in, and the result that shows itself."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision import tv_tensors

from ..data.classes import Color
from ..data.files import read_image
from ..data.transforms import evaluation_transform
from . import report
from .inference import Inference, fastest_layout, predicted_labels, probabilities

if TYPE_CHECKING:
    from .weights import SavedModel

_SHOWN = 900
"""Pixels to which a notebook's picture is brought at most."""

ImageLike = str | Path | Image.Image | np.ndarray | Tensor


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of an image. A notebook shows it as a picture with its legend.

    Attributes:
        image: the image, uint8 ``[H, W, 3]``.
        labels: the classes' indices, uint8 ``[H, W]``.
        names, colors: of all the model's classes.
    """

    image: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    colors: tuple[Color, ...]

    @property
    def classes(self) -> dict[str, float]:
        """The shares of the image's pixels of the classes that occur, the largest first."""
        return {self.names[index]: share for index, share in self._shares}

    @property
    def _shares(self) -> list[tuple[int, float]]:
        return report.shares(report.counts_of(self.labels))

    @property
    def legend(self) -> Image.Image:
        """The classes that occur with their colours and shares, of the image's width."""
        return Image.fromarray(self._legend(self.image.shape[1]))

    def _legend(self, width: int) -> np.ndarray:
        return report.legend(report.entries(self._shares, self.names, self.colors), width)

    def overlay(self, opacity: float = 0.55, legend: bool = False) -> Image.Image:
        """The image with the classes' colours laid over it, and on request the legend below."""
        picture = report.overlay(self.image, self.labels, self.colors, opacity)
        if legend:
            picture = np.concatenate((picture, self._legend(picture.shape[1])))
        return Image.fromarray(picture)

    def _repr_png_(self) -> bytes:
        shown = self.overlay()
        shown.thumbnail((_SHOWN, _SHOWN))
        legend = self._legend(max(shown.width, 240))
        picture = Image.new("RGB", (legend.shape[1], shown.height + legend.shape[0]), "white")
        picture.paste(shown, (0, 0))
        picture.paste(Image.fromarray(legend), (0, shown.height))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()

    def __repr__(self) -> str:
        height, width = self.labels.shape
        return f"Prediction({height}x{width}: {report.largest(self._shares, self.names)})"


def predict_image(
    saved: SavedModel,
    image: ImageLike,
    inference: Inference | None = None,
    short_side: int | None = None,
    white: float | None = None,
) -> Prediction:
    """See :meth:`scrn.engine.weights.SavedModel.predict`."""
    if inference is not None and not isinstance(inference, Inference):
        raise TypeError(f"inference: expected an Inference, got {type(inference).__name__}")
    pixels = as_tensor(image, white)
    labels = segment_labels(saved, pixels, inference, short_side)
    return Prediction(
        pixels.permute(1, 2, 0).numpy(), labels.numpy(), tuple(saved.classes), tuple(saved.colors)
    )


def as_tensor(image: ImageLike, white: float | None = None) -> Tensor:
    """What a user has for an image as uint8 ``[3, H, W]``, on the CPU."""
    if isinstance(image, str | Path):
        return read_image(Path(image), upright=True, white=white)
    if isinstance(image, Image.Image):
        if image.mode.startswith(("I", "F")):
            raise ValueError(
                f"image: expected 8 bits a channel, got the mode {image.mode!r}; of a file's path "
                "white= says which value is white"
            )
        return _from_array(np.array(ImageOps.exif_transpose(image).convert("RGB")))
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Tensor):
        if image.dtype != torch.uint8:
            raise TypeError(f"image: expected uint8 from 0 to 255, got {image.dtype}")
        if image.dim() != 3 or image.shape[0] != 3 or image.numel() == 0:
            raise ValueError(f"image: expected a tensor [3, H, W], got {list(image.shape)}")
        return image.detach().to("cpu", copy=True)  # as of an array
    raise TypeError(
        "image: expected a path, a PIL image, an array [H, W, 3] or a tensor [3, H, W], "
        f"got {type(image).__name__}"
    )


def _from_array(image: np.ndarray) -> Tensor:
    if image.dtype != np.uint8:
        raise TypeError(f"image: expected uint8 from 0 to 255, got {image.dtype}")
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 3, 4) or image.size == 0:
        raise ValueError(
            f"image: expected an array [H, W], [H, W, 3] or [H, W, 4], got {list(image.shape)}"
        )
    if image.ndim == 2 or channels == 1:
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, 2)
    # A copy: what the caller changes later is not changed in the result.
    return torch.from_numpy(image[..., :3].copy()).permute(2, 0, 1)


def segment(
    saved: SavedModel,
    image: Tensor,
    inference: Inference | None = None,
    short_side: int | None = None,
) -> Tensor:
    """Class probabilities ``[classes, H, W]`` of a uint8 image ``[3, H, W]``.

    The network sees the image with its short side at ``short_side`` pixels; None takes what the
    model was saved with, 0 leaves the image as it is.
    """
    batch = prepared(saved, image, short_side)
    with torch.inference_mode():
        return probabilities(saved.model, batch, inference, _size(image))[0].cpu()


def segment_labels(
    saved: SavedModel,
    image: Tensor,
    inference: Inference | None = None,
    short_side: int | None = None,
) -> Tensor:
    """The classes ``[H, W]``, uint8, of a uint8 image ``[3, H, W]``; see :func:`segment`."""
    batch = prepared(saved, image, short_side)
    with torch.inference_mode():
        labels = predicted_labels(saved.model, batch, inference, _size(image), torch.uint8)
        return labels[0].cpu()


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[1], image.shape[2]


def prepared(saved: SavedModel, image: Tensor, short_side: int | None = None) -> Tensor:
    """The network's input ``[1, 3, h, w]`` of a uint8 image, on the network's device."""
    device = next(saved.model.parameters()).device
    short_side = saved.short_side if short_side is None else short_side
    prepare: Any = evaluation_transform(short_side or None, saved.mean, saved.std)
    batch: Tensor = prepare(tv_tensors.Image(image))[None].to(device)
    return batch.contiguous(memory_format=fastest_layout(device))
