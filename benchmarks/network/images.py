"""A real image of any size: a frame of CamVid where it is present, else a photo of scikit-image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage
import torch
from PIL import Image
from torch import Tensor

from ..demo.data import camvid_root

BUNDLED = "motorcycle_left.png"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def find() -> tuple[str, Path]:
    """What it is, and where."""
    root = camvid_root()
    if root is None:
        return f"scikit-image's {BUNDLED}", Path(skimage.__file__).parent / "data" / BUNDLED
    path = min((root / "val").glob("*.jpg"))
    return f"CamVid's {path.stem}", path


def load(path: Path, size: tuple[int, int]) -> Tensor:
    """The image [1, 3, *size], bicubically resized where its size differs, normalised."""
    with Image.open(path) as file:
        photo = file.convert("RGB")
        if photo.size != (size[1], size[0]):
            photo = photo.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        values = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    return ((values - mean) / std).contiguous()
