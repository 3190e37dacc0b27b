"""Cityscapes, BDD100K, ADE20K and CamVid, each from its published folder layout.

Every item is ``(image, labels)``: tv_tensors ``Image`` uint8 ``[3, H, W]`` and ``Mask`` uint8
``[H, W]`` holding class indices, 255 where a pixel has none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from .classes import (
    ADE20K_CLASSES,
    CAMVID_CLASSES,
    CITYSCAPES_CLASSES,
    CITYSCAPES_LABEL_IDS,
    palette,
)
from .errors import DataError
from .files import list_images, read_image, read_labels, with_any_suffix

IGNORE = 255
Transform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class SegmentationDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of image and label file, with a table from stored label values to classes.

    Args:
        pairs: image and label path of every item.
        table: class index (or 255) of every stored value that may occur.
        transform: applied to ``(image, labels)``; with a seed of its own for every item and
            epoch, so that a run that is resumed draws what the uninterrupted one would have.
    """

    classes: tuple[str, ...] = ()

    def __init__(
        self,
        pairs: list[tuple[Path, Path]],
        table: dict[int, int],
        transform: Transform | None = None,
    ) -> None:
        for image, labels in pairs:
            if not labels.is_file():
                raise DataError(labels, f"the labels of {image}", "no such file")
        self.pairs = pairs
        self.colors = palette(self.classes)
        self.transform = transform
        self.seed = 0
        self.epoch = 0
        self._values = table
        self._lookup = torch.full((max(table) + 1,), -1, dtype=torch.int16)
        for value, index in table.items():
            self._lookup[value] = index

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = index if isinstance(index, tuple) else (self.epoch, index)
        image, labels = self.load(index)
        if self.transform is None:
            return image, labels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_item_seed(self.seed, epoch, index))
            return self.transform(image, labels)

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """An item before the transform."""
        image_path, label_path = self.pairs[index]
        image = read_image(image_path)
        labels = self.read(label_path)
        if labels.shape != image.shape[1:]:
            raise DataError(
                label_path,
                f"labels of the image's size {tuple(image.shape[1:])} ({image_path})",
                f"{tuple(labels.shape)}",
            )
        return tv_tensors.Image(image), tv_tensors.Mask(labels)

    def read(self, path: Path) -> Tensor:
        """A label file as class indices ``[H, W]``, uint8."""
        return self.to_classes(read_labels(path), path)

    def count(self) -> Tensor:
        """The pixels of each class in all label files, ``[classes]``, int64."""
        total = torch.zeros(IGNORE + 1, dtype=torch.int64)
        for _, path in self.pairs:
            total += self.read(path).flatten().bincount(minlength=IGNORE + 1)
        return total[: len(self.classes)]

    def to_classes(self, labels: Tensor, path: Path) -> Tensor:
        """Stored label values to class indices."""
        inside = (labels >= 0) & (labels < len(self._lookup))
        mapped = self._lookup[labels.clamp(0, len(self._lookup) - 1).long()]
        unknown = ~inside | (mapped < 0)
        if unknown.any():
            found = ", ".join(str(v) for v in labels[unknown].unique().tolist()[:8])
            allowed = ", ".join(str(v) for v in sorted(self._values))
            raise DataError(path, f"label values among {allowed}", f"{found}")
        return mapped.to(torch.uint8)


def _item_seed(seed: int, epoch: int, index: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{epoch}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Cityscapes(SegmentationDataset):
    """``leftImg8bit/<split>/<city>/*_leftImg8bit.png`` and
    ``gtFine/<split>/<city>/*_gtFine_{labelIds,labelTrainIds}.png``; 19 classes.

    labelTrainIds are used where an image has them, else labelIds, which are mapped.
    """

    classes = CITYSCAPES_CLASSES

    def __init__(
        self, root: Path | str, split: str = "train", transform: Transform | None = None
    ) -> None:
        root = Path(root)
        folder = root / "leftImg8bit" / split
        kinds = set()
        pairs = []
        for image in list_images(folder, "*/*_leftImg8bit.*"):
            city, stem = image.parent.name, image.stem.removesuffix("_leftImg8bit")
            target = root / "gtFine" / split / city
            kind = "labelTrainIds"
            if not (target / f"{stem}_gtFine_labelTrainIds.png").is_file():
                kind = "labelIds"
            kinds.add(kind)
            pairs.append((image, target / f"{stem}_gtFine_{kind}.png"))
        if len(kinds) > 1:
            raise DataError(
                root / "gtFine" / split,
                "labelTrainIds for every image or for none",
                "labelTrainIds for a part of them",
            )
        identity = {i: i for i in range(len(CITYSCAPES_CLASSES))} | {IGNORE: IGNORE}
        table = identity if kinds == {"labelTrainIds"} else CITYSCAPES_LABEL_IDS
        super().__init__(pairs, table, transform)


class BDD100K(SegmentationDataset):
    """``images/10k/<split>/*.jpg`` and ``labels/sem_seg/masks/<split>/*.png``; the 19 classes of
    Cityscapes."""

    classes = CITYSCAPES_CLASSES

    def __init__(
        self, root: Path | str, split: str = "train", transform: Transform | None = None
    ) -> None:
        root = Path(root)
        target = root / "labels" / "sem_seg" / "masks" / split
        pairs = [
            (image, target / f"{image.stem}.png")
            for image in list_images(root / "images" / "10k" / split)
        ]
        table = {i: i for i in range(len(CITYSCAPES_CLASSES))} | {IGNORE: IGNORE}
        super().__init__(pairs, table, transform)


class ADE20K(SegmentationDataset):
    """``images/<split>/*.jpg`` and ``annotations/<split>/*.png`` (SceneParse150); split
    ``training`` or ``validation``. Label 0 is ignored, 1..150 are the classes 0..149."""

    classes = ADE20K_CLASSES

    def __init__(
        self, root: Path | str, split: str = "training", transform: Transform | None = None
    ) -> None:
        root = Path(root)
        split = {"train": "training", "val": "validation"}.get(split, split)
        target = root / "annotations" / split
        pairs = [
            (image, target / f"{image.stem}.png") for image in list_images(root / "images" / split)
        ]
        table = {0: IGNORE} | {i + 1: i for i in range(len(ADE20K_CLASSES))}
        super().__init__(pairs, table, transform)


class CamVid(SegmentationDataset):
    """``<split>/*.{png,jpg}`` and ``<split>annot/*.png`` (SegNet's layout); 11 classes, 11 is
    void and ignored."""

    classes = CAMVID_CLASSES

    def __init__(
        self, root: Path | str, split: str = "train", transform: Transform | None = None
    ) -> None:
        root = Path(root)
        target = root / f"{split}annot"
        pairs = [
            (image, with_any_suffix(target / image.stem) or target / f"{image.stem}.png")
            for image in list_images(root / split)
        ]
        table = {i: i for i in range(len(CAMVID_CLASSES))} | {len(CAMVID_CLASSES): IGNORE}
        super().__init__(pairs, table, transform)


DATASETS: dict[str, type[SegmentationDataset]] = {
    "ade20k": ADE20K,
    "bdd100k": BDD100K,
    "camvid": CamVid,
    "cityscapes": Cityscapes,
}
