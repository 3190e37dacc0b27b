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


class InterruptAt(L.Callback):
    """Presses Ctrl-C, which reaches the loader's processes, too: within a step, once or more often,
    or within a validation."""

    def __init__(self, step: int, times: int = 1, validating: bool = False) -> None:
        self.step, self.times, self.validating = step, times, validating

    def on_before_zero_grad(self, trainer, *args) -> None:
        if trainer.global_step == self.step and not self.validating:
            self._press()

    def on_validation_batch_start(self, trainer, *args) -> None:
        if trainer.global_step == self.step and self.validating:
            self._press()

    def _press(self) -> None:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for _ in range(self.times):
            for process in (*map(int, children), os.getpid()):
                os.kill(process, signal.SIGINT)
        self.times = 0


class ExitWith(L.Callback):
    """Ends the program with a status of its own."""

    def on_train_batch_end(self, trainer, *args) -> None:
        raise SystemExit(3)


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
