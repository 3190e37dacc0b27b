"""Checkpoints that a kill cannot destroy."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from ..data.errors import reading


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames: a reader finds the old file or the new one, whole."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        try:
            super().save_checkpoint(checkpoint, name, storage_options)
            # The rename must not reach the disk before the content does.
            with open(name, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        with reading(path, "a training checkpoint"):
            return super().load_checkpoint(path, *args, **kwargs)


class LastCheckpoint(ModelCheckpoint):
    """``last.ckpt``, rewritten every so many steps, and when the training has ended.

    Args:
        every_n_train_steps: optimiser steps from one checkpoint to the next.
        dirpath: the folder; None takes ``checkpoints`` in that of the first logger.
    """

    def __init__(self, every_n_train_steps: int, dirpath: str | None = None) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="last",
            every_n_train_steps=every_n_train_steps,
            enable_version_counter=False,
        )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        # Not in on_train_end: there the averaged weights have already replaced the others.
        if _ends(trainer) and not self._should_skip_saving_checkpoint(trainer):
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))


def _ends(trainer: L.Trainer) -> bool:
    progress: Any = trainer.fit_loop.epoch_progress.current
    return (
        trainer.should_stop
        or 0 <= trainer.max_steps <= trainer.global_step
        or (trainer.max_epochs is not None and 0 <= trainer.max_epochs <= progress.processed)
    )
