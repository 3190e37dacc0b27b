"""Reading images and label maps, with errors that name the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .errors import DataError

LOSSLESS_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")

EIGHT_BITS = "an image of 8 bits a channel, or for prediction a white (--white 65535)"

WIDE_COLORS = "colours of 16 bits a channel (scrn predict --window reads them of TIFFs, by --white)"


def to_eight_bits(values: np.ndarray, white: float) -> np.ndarray:
    """Values of which 0 is black and ``white`` is white as uint8, linearly; what lies beyond is
    clipped, and NaN is black."""
    if not 0 < white < float("inf"):
        raise ValueError(f"white: expected a number above 0, got {white}")
    scaled = np.nan_to_num(values.astype(np.float32), nan=0) * np.float32(255 / white)
    return scaled.clip(0, 255).round().astype(np.uint8)


def read_image(path: Path, upright: bool = False, white: float | None = None) -> Tensor:
    """An image file as uint8 ``[3, H, W]``: its pixels as stored, as labels lie over them, or
    ``upright``, turned as its EXIF orientation says. Grey of more than 8 bits a channel needs to
    be told which value is ``white``."""

    def convert(image: Image.Image) -> Image.Image:
        if upright:
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):
            # Pillow would clip what lies beyond 255.
            if white is None:
                raise DataError(path, EIGHT_BITS, f"one of mode {image.mode}")
            image = Image.fromarray(to_eight_bits(np.array(image), white))
        return image.convert("RGB")

    return torch.from_numpy(_decode(path, "an image", convert)).permute(2, 0, 1).contiguous()


def read_labels(path: Path) -> Tensor:
    """A label file as integer class values ``[H, W]``: 8-bit grey, palette (its indices), or
    16-bit grey."""
    values = _decode(path, "a single-channel label map", lambda image: image)
    if values.ndim != 2:
        expected = "a single-channel label map (masks in colours need their classes.yaml)"
        raise DataError(path, expected, f"{values.shape[-1]} channels")
    return torch.from_numpy(values.astype(np.int32))


def read_colors(path: Path) -> np.ndarray:
    """A label file whose colours say the class, uint8 ``[H, W, 3]``; transparency is left out."""

    def convert(image: Image.Image) -> Image.Image:
        if image.mode.startswith(("I", "F")):
            # Pillow would clip what lies beyond 255.
            raise DataError(path, "colours of 8 bits a channel", f"mode {image.mode}")
        return image.convert("RGB")

    return _decode(path, "a label map in colours", convert)


def _decode(path: Path, expected: str, convert: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    if not path.is_file():
        raise DataError(path, expected, "a folder" if path.is_dir() else "no such file")
    try:
        with Image.open(path) as image:
            if _has_wide_colors(image):
                raise DataError(path, expected, WIDE_COLORS)
            image.load()
            return np.array(convert(image))
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(path, expected, "a file in no known image format") from error
    except Image.DecompressionBombError as error:
        raise DataError(path, expected, f"too many pixels ({error})") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(path, expected, f"a broken file ({error})") from error


def _has_wide_colors(image: Image.Image) -> bool:
    """Whether a file that has not been decoded yet has colours of more than 8 bits a channel: of
    those Pillow keeps the upper 8."""
    if image.mode.startswith(("I", "F")):
        return False
    tiles: list[Any] = getattr(image, "tile", [])
    return any(";16" in str(tile[3]) for tile in tiles)


def list_images(folder: Path, pattern: str = "*") -> list[Path]:
    """The image files in a folder that match, sorted by name; an error where there are none."""
    if not folder.is_dir():
        raise DataError(folder, "a folder of images", "no such folder")
    # Hidden files are no photos: systems and editors leave some that are called like images.
    found = sorted(
        path
        for path in folder.glob(pattern)
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise DataError(folder, f"images ({pattern}; {', '.join(IMAGE_SUFFIXES)})", "none")
    return found


def with_any_suffix(stem: Path) -> Path | None:
    """The label file of a name without its suffix; lossless formats only."""
    for suffix in LOSSLESS_SUFFIXES:
        candidate = stem.with_name(stem.name + suffix)
        if candidate.is_file():
            return candidate
    return None
