"""Callbacks for the tests of the command."""

import os
import signal
from pathlib import Path

import lightning as L
import torch


class KillAt(L.Callback):
    """Ends the process with SIGKILL as soon as a step is done, as a node that fails would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, *args) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class Record(L.Callback):
    """Writes what every process logged at each step, and the weights that it ended with, to
    ``folder/<rank>.pt``."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer, *args) -> None:
        self.losses.append(trainer.callback_metrics["train/loss"].item())

    def on_train_end(self, trainer, pl_module) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"losses": self.losses, "weights": pl_module.state_dict()}
        torch.save(content, self.folder / f"{trainer.global_rank}.pt")
