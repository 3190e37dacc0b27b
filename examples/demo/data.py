"""Photos with labels: CamVid where it is present, otherwise photos of scikit-image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage
import torch
from scipy.cluster.vq import kmeans2, vq
from skimage.color import rgb2lab
from skimage.segmentation import slic
from torch import Tensor

from benchmarks.common.camvid import camvid_root
from scrn.data import CamVid
from scrn.data.classes import palette
from scrn.data.datasets import IGNORE
from scrn.data.files import read_image

from .model import STRIDE

UNSEEN_EVERY = 5  # neighbouring frames of the video show nearly the same
BUNDLED_TRAIN = ("astronaut.png", "chelsea.png", "motorcycle_left.png")
BUNDLED_UNSEEN = ("coffee.png", "rocket.jpg")
BUNDLED_PALETTE = "264653 2a9d8f e9c46a f4a261 e76f51 f1faee"

Pair = tuple[Tensor, Tensor]


@dataclass
class PhotoSet:
    """Pairs of a photo [3, H, W] and its labels [H, W], both uint8, H and W multiples of 8; 255
    is no class. ``palette`` [classes, 3] holds a colour of each.

    ``shown`` are indices into ``unseen``; figures on a set that is not ``judged`` prove nothing,
    since its labels were made from the photos themselves.
    """

    source: str
    judged: bool
    palette: np.ndarray
    train: list[Pair]
    unseen: list[Pair]
    shown: tuple[int, ...]

    @property
    def classes(self) -> int:
        return len(self.palette)

    def coloured(self, labels: Tensor) -> np.ndarray:
        """An image [H, W, 3]; what has no class is black."""
        known = np.zeros((IGNORE + 1, 3), np.uint8)
        known[: self.classes] = self.palette
        return known[labels.numpy()]


def load() -> PhotoSet:
    root = camvid_root()
    return load_bundled() if root is None else load_camvid(root)


def load_camvid(root: Path) -> PhotoSet:
    train, unseen = CamVid(root, "train"), CamVid(root, "val")
    return PhotoSet(
        source="CamVid (Brostow et al., University of Cambridge)",
        judged=True,
        palette=np.array(palette(CamVid.classes), np.uint8),
        train=[as_pair(*train[index]) for index in range(len(train))],
        unseen=[as_pair(*unseen[index]) for index in range(0, len(unseen), UNSEEN_EVERY)],
        shown=(3, 16),
    )


def load_bundled() -> PhotoSet:
    """Photos that scikit-image ships. Their labels are superpixels of like colour, so that they
    follow the photo's edges as those of a person do."""
    folder = Path(skimage.__file__).parent / "data"
    colours = np.array([list(bytes.fromhex(each)) for each in BUNDLED_PALETTE.split()], np.uint8)
    photos, segments, means = {}, {}, {}
    for name in BUNDLED_TRAIN + BUNDLED_UNSEEN:
        photos[name] = read_image(folder / name)
        image = photos[name].permute(1, 2, 0).numpy()
        segments[name] = slic(image, n_segments=400, compactness=10, start_label=0)
        means[name] = _means(rgb2lab(image), segments[name])
    known = np.concatenate([means[name] for name in BUNDLED_TRAIN])
    by_lightness = known[np.argsort(known[:, 0])]
    start = by_lightness[np.linspace(0, len(known) - 1, len(colours)).astype(int)]
    centres, _ = kmeans2(known, start, minit="matrix", iter=50)

    def pair(name: str) -> Pair:
        classes = vq(means[name], centres)[0].astype(np.uint8)
        return as_pair(photos[name], torch.from_numpy(classes[segments[name]]))

    return PhotoSet(
        source="scikit-image's photos, labels made from their colours",
        judged=False,
        palette=colours,
        train=[pair(name) for name in BUNDLED_TRAIN],
        unseen=[pair(name) for name in BUNDLED_UNSEEN],
        shown=(0, 1),
    )


def _means(image: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """The mean of ``image`` [H, W, 3] in every segment [H, W]."""
    flat = segments.ravel()
    sums = [np.bincount(flat, channel.ravel()) for channel in np.moveaxis(image, -1, 0)]
    return np.stack(sums, axis=1) / np.bincount(flat)[:, None]


def as_pair(photo: Tensor, labels: Tensor) -> Pair:
    """Plain tensors, cut to multiples of 8."""
    height, width = (size - size % STRIDE for size in labels.shape)
    cut = (each[..., :height, :width] for each in (photo, labels))
    photo, labels = (each.as_subclass(Tensor).contiguous() for each in cut)
    return photo, labels
