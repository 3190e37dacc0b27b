"""The Lightning data module: one class for all data sets, with a resumable order of batches."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from ..card import IMAGENET_MEAN, IMAGENET_STD
from .classes import Color, palette
from .datasets import DATASETS, SegmentationDataset
from .errors import DataError
from .folder import Folder, read_classes
from .transforms import evaluation_transform, training_transform

FOLDER = "folder"


def classes_of(name: str, root: Path | str) -> tuple[tuple[str, ...], tuple[Color, ...]]:
    """Names and colours of a data set's classes; those of a folder are read from it."""
    if name == FOLDER:
        found = read_classes(root)
        return found.names, found.colors
    if name not in DATASETS:
        raise ValueError(f"name: expected one of {', '.join([*DATASETS, FOLDER])}, got {name!r}")
    names = DATASETS[name].classes
    return names, palette(names)


class EpochBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of ``(epoch, index)`` whose order depends on seed and epoch alone.

    Every rank takes its part of each global batch, so the union over ranks is the batch that one
    process would draw. ``start`` skips the batches that a resumed epoch has already seen.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int, world: int) -> None:
        if length < batch_size * world:
            raise ValueError(
                f"batch_size: expected at most the {length} images of the training set, "
                f"got {batch_size} on each of {world} processes"
            )
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.rank, self.world = rank, world
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return self.length // (self.batch_size * self.world)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.length, generator=generator).tolist()
        start, self.start = self.start, 0
        for batch in range(start, len(self)):
            first = (batch * self.world + self.rank) * self.batch_size
            yield [(self.epoch, i) for i in order[first : first + self.batch_size]]

    @property
    def sampler(self) -> EpochBatchSampler:
        """This object: Lightning looks here for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class ResumableLoader(DataLoader[tuple[Tensor, Tensor]]):
    """A loader whose place in the epoch is part of Lightning's checkpoints (it looks for
    ``state_dict`` and ``load_state_dict``)."""

    def __init__(
        self, dataset: SegmentationDataset, order: EpochBatchSampler, **kwargs: Any
    ) -> None:
        super().__init__(dataset, batch_sampler=order, **kwargs)
        self._order = order
        self._seen = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._seen = self._order.start
        for batch in super().__iter__():
            # Before the batch is handed out: a checkpoint is written after its step.
            self._seen += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        # A checkpoint of an epoch's last batch goes on with the next epoch, from its start.
        return {"batches": self._seen % len(self._order)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._order.start = state["batches"]


class SegmentationData(L.LightningDataModule):
    """Training and validation loaders of one data set.

    Args:
        name: camvid, cityscapes, bdd100k, ade20k, or folder: images and masks of one's own.
        root: the data set's folder, in its published layout, or in that of
            :class:`scrn.data.folder.Folder`.
        batch_size: images per process and step.
        crop: (height, width) of a training crop.
        scale: range of the random scale.
        color_jitter: strength of the colour jitter; 0 switches it off.
        short_side: short side of a validation image; None keeps its size.
        mean, std: per channel, of images in [0, 1].
        workers: loader processes.
        seed: of the order of images and of the augmentation.
    """

    def __init__(
        self,
        name: str,
        root: str,
        batch_size: int = 8,
        crop: tuple[int, int] = (512, 512),
        scale: tuple[float, float] = (0.5, 2.0),
        color_jitter: float = 0.0,
        short_side: int | None = None,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.classes, self.colors = classes_of(name, root)
        self.save_hyperparameters()
        self.dataset: Any = Folder if name == FOLDER else DATASETS[name]
        self.root = Path(root).expanduser()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs of the data set to be a model without it."""
        return {"classes": self.classes, "colors": self.colors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if tuple(state["classes"]) != tuple(self.classes):
            raise ValueError(
                f"classes: expected the checkpoint's {', '.join(state['classes'])}, "
                f"got {', '.join(self.classes)}"
            )

    def setup(self, stage: str | None = None) -> None:
        hp: Any = self.hparams
        if not self.root.is_dir():
            raise DataError(self.root, f"the folder of {hp.name}", "no such folder")
        if stage in (None, "fit"):
            self.train_set = self.dataset(
                self.root,
                "train",
                training_transform(hp.crop, hp.scale, hp.color_jitter, hp.mean, hp.std),
            )
            self.train_set.seed = hp.seed
        if stage in (None, "fit", "validate"):
            transform = evaluation_transform(hp.short_side, hp.mean, hp.std)
            self.val_set = self.dataset(self.root, "val", transform)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        hp: Any = self.hparams
        rank, world = _place()
        order = EpochBatchSampler(len(self.train_set), hp.batch_size, hp.seed, rank, world)
        return ResumableLoader(
            self.train_set,
            order,
            num_workers=hp.workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_ignore_interrupts,
        )

    def batches_per_epoch(self, world: int) -> int:
        """Training steps of one epoch on ``world`` processes."""
        return len(self.train_set) // (self.hparams["batch_size"] * world)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Every process evaluates its part of the images: each image once in all."""
        rank, world = _place()
        if len(self.val_set) < world:
            raise ValueError(
                f"devices: expected at most the {len(self.val_set)} images of the validation set, "
                f"got {world} processes"
            )
        mine = range(rank, len(self.val_set), world)
        return DataLoader(
            self.val_set,
            batch_size=1,
            sampler=mine,
            num_workers=self.hparams["workers"],
            worker_init_fn=_ignore_interrupts,
        )


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches a loader's processes, too: the training's process ends them when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _place() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
