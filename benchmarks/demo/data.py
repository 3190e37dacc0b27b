"""Photos with labels: CamVid where it is present, otherwise photos of scikit-image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage
import torch
from PIL import Image
from scipy.cluster.vq import kmeans2, vq
from skimage.color import rgb2lab
from skimage.segmentation import slic
from torch import Tensor

from ..camvid import camvid_root
from .model import STRIDE

CAMVID_CLASSES = 11
UNSEEN_EVERY = 5  # neighbouring frames of the video show nearly the same
# The data set's own colours: sky building pole road sidewalk tree sign fence car pedestrian
# bicyclist, and void.
CAMVID_PALETTE = (
    "808080 800000 c0c080 804080 3c28de 808000 c08080 404080 400080 404000 0080c0 000000"
)
BUNDLED_TRAIN = ("astronaut.png", "chelsea.png", "motorcycle_left.png")
BUNDLED_UNSEEN = ("coffee.png", "rocket.jpg")
BUNDLED_CLASSES = 6
BUNDLED_PALETTE = "264653 2a9d8f e9c46a f4a261 e76f51 f1faee 000000"

Pair = tuple[Tensor, Tensor]


@dataclass
class PhotoSet:
    """Pairs of a photo [3, H, W] and its labels [H, W], both uint8, H and W multiples of 8.

    ``shown`` are indices into ``unseen``; figures on a set that is not ``judged`` prove nothing,
    since its labels were made from the photos themselves.
    """

    source: str
    judged: bool
    classes: int
    palette: np.ndarray
    train: list[Pair]
    unseen: list[Pair]
    shown: tuple[int, ...]

    @property
    def void(self) -> int:
        return self.classes


def load() -> PhotoSet:
    root = camvid_root()
    return load_bundled() if root is None else load_camvid(root)


def load_camvid(root: Path) -> PhotoSet:
    train = sorted(path.stem for path in (root / "trainannot").glob("*.png"))
    unseen = sorted(path.stem for path in (root / "valannot").glob("*.png"))[::UNSEEN_EVERY]
    return PhotoSet(
        source="CamVid (Brostow et al., University of Cambridge)",
        judged=True,
        classes=CAMVID_CLASSES,
        palette=colours(CAMVID_PALETTE),
        train=[_camvid_pair(root, "train", name) for name in train],
        unseen=[_camvid_pair(root, "val", name) for name in unseen],
        shown=(3, 16),
    )


def load_bundled() -> PhotoSet:
    """Photos that scikit-image ships. Their labels are superpixels of like colour, so that they
    follow the photo's edges as those of a person do."""
    folder = Path(skimage.__file__).parent / "data"
    photos, segments, means = {}, {}, {}
    for name in BUNDLED_TRAIN + BUNDLED_UNSEEN:
        with Image.open(folder / name) as image:
            photos[name] = np.array(image.convert("RGB"))
        segments[name] = slic(photos[name], n_segments=400, compactness=10, start_label=0)
        means[name] = _means(rgb2lab(photos[name]), segments[name])
    known = np.concatenate([means[name] for name in BUNDLED_TRAIN])
    by_lightness = known[np.argsort(known[:, 0])]
    start = by_lightness[np.linspace(0, len(known) - 1, BUNDLED_CLASSES).astype(int)]
    centres, _ = kmeans2(known, start, minit="matrix", iter=50)

    def pair(name: str) -> Pair:
        classes = vq(means[name], centres)[0].astype(np.uint8)
        return as_pair(photos[name], classes[segments[name]])

    return PhotoSet(
        source="scikit-image's photos, labels made from their colours",
        judged=False,
        classes=BUNDLED_CLASSES,
        palette=colours(BUNDLED_PALETTE),
        train=[pair(name) for name in BUNDLED_TRAIN],
        unseen=[pair(name) for name in BUNDLED_UNSEEN],
        shown=(0, 1),
    )


def _means(image: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """The mean of ``image`` [H, W, 3] in every segment [H, W]."""
    flat = segments.ravel()
    sums = [np.bincount(flat, channel.ravel()) for channel in np.moveaxis(image, -1, 0)]
    return np.stack(sums, axis=1) / np.bincount(flat)[:, None]


def colours(text: str) -> np.ndarray:
    """An array [N, 3] of colours from their hexadecimal notation."""
    return np.array([list(bytes.fromhex(each)) for each in text.split()], dtype=np.uint8)


def _camvid_pair(root: Path, split: str, name: str) -> Pair:
    with Image.open(root / split / f"{name}.jpg") as image:
        photo = np.array(image.convert("RGB"))
    with Image.open(root / f"{split}annot" / f"{name}.png") as image:
        labels = np.array(image)
    return as_pair(photo, labels)


def as_pair(photo: np.ndarray, labels: np.ndarray) -> Pair:
    """Tensors of an image [H, W, 3] and its labels [H, W], cut to multiples of 8."""
    height, width = (size - size % STRIDE for size in labels.shape)
    photo, labels = photo[:height, :width], labels[:height, :width]
    return (
        torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1))),
        torch.from_numpy(np.ascontiguousarray(labels)),
    )
