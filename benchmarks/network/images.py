"""A real image of any size: a frame of CamVid where it is present, else a photo of scikit-image,
else the page of frames in docs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..common.camvid import camvid_root
from ..common.checkout import ROOT

BUNDLED = "motorcycle_left.png"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def find() -> tuple[str, Path]:
    """What it is, and where."""
    root = camvid_root()
    if root is not None:
        path = min((root / "val").glob("*.jpg"))
        return f"CamVid's {path.stem}", path
    package = importlib.util.find_spec("skimage")
    if package is not None and package.origin is not None:
        return f"scikit-image's {BUNDLED}", Path(package.origin).parent / "data" / BUNDLED
    return "the page of frames in docs", ROOT / "docs" / "camvid" / "frames.jpg"


def load(path: Path, size: tuple[int, int]) -> Tensor:
    """The image [1, 3, *size], bicubically resized where its size differs, normalised."""
    with Image.open(path) as file:
        photo = file.convert("RGB")
        if photo.size != (size[1], size[0]):
            photo = photo.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        values = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    return ((values - mean) / std).contiguous()
