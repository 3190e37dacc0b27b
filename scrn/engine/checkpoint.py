"""Checkpoints that a kill cannot destroy."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
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
    """``last.ckpt``, rewritten every so many steps, before a validation, when the training has
    ended, and when Ctrl-C ends it: after the step that it comes in, or at once if it comes twice.

    Where several processes train, Ctrl-C ends each at a step of its own, and nothing more is saved.

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
        self.saved: tuple[Path, int] | None = None
        """What was saved last: where, and the step that it is of."""
        self._interrupt: _Interrupt | None = None
        self._step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._step = trainer.global_step
        # Not earlier: Lightning puts back the handlers that it found shortly before.
        if trainer.world_size == 1 and current_thread() is main_thread():
            self._interrupt = _Interrupt()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.global_step == self._step:
            return  # Gradients are still being accumulated: a checkpoint would lose them.
        self._step = trainer.global_step
        ends = self._interrupt is not None and self._interrupt.came
        if ends or _validates_after(trainer, batch_idx):
            self._save_now(trainer)
        if ends:
            raise KeyboardInterrupt

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # The step before it has been saved.
        self._defer_interrupts(False)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        self._defer_interrupts(trainer.state.fn == "fit" and not trainer.sanity_checking)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        # Not in on_train_end: there the averaged weights have already replaced the others.
        if _ends(trainer):
            self._save_now(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        # One that came after the last step has nothing left to stop.
        self._forget_interrupts()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        super().on_exception(trainer, pl_module, exception)
        self._forget_interrupts()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().teardown(trainer, pl_module, stage)
        self._forget_interrupts()

    def _save_now(self, trainer: L.Trainer) -> None:
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        self.saved = Path(filepath), trainer.global_step

    def _defer_interrupts(self, deferred: bool) -> None:
        if self._interrupt is not None:
            self._interrupt.defer(deferred)

    def _forget_interrupts(self) -> None:
        if self._interrupt is not None:
            self._interrupt.restore()
            self._interrupt = None


class _Interrupt:
    """Takes Ctrl-C (SIGINT) down instead of raising it, while that is deferred."""

    def __init__(self) -> None:
        self.came = False
        self._deferred = True
        self._before = signal.getsignal(signal.SIGINT)
        # Another one is somebody's wish: a shell's, that Ctrl-C is not for a job behind it.
        if self._before == signal.default_int_handler:
            signal.signal(signal.SIGINT, self._take)

    def defer(self, deferred: bool) -> None:
        self._deferred = deferred
        if self.came and not deferred:
            raise KeyboardInterrupt

    def restore(self) -> None:
        # Lightning has its own one by now where it shuts down.
        if signal.getsignal(signal.SIGINT) == self._take:
            signal.signal(signal.SIGINT, self._before)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.came or not self._deferred:
            raise KeyboardInterrupt
        self.came = True
        # Not print: the signal may have come within another one.
        os.write(2, b"\nstopping after this step; Ctrl-C once more stops at once\n")


def _validates_after(trainer: L.Trainer, batch_idx: int) -> bool:
    every, epochs = trainer.val_check_batch, trainer.check_val_every_n_epoch
    return (
        trainer.enable_validation
        and every is not None
        and (batch_idx + 1) % every == 0
        and (epochs is None or (trainer.current_epoch + 1) % epochs == 0)
    )


def _ends(trainer: L.Trainer) -> bool:
    progress: Any = trainer.fit_loop.epoch_progress.current
    return (
        trainer.should_stop
        or 0 <= trainer.max_steps <= trainer.global_step
        or (trainer.max_epochs is not None and 0 <= trainer.max_epochs <= progress.processed)
    )
