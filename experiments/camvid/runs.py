"""Runs of ``scrn fit`` that differ in little: their training, and their scores on disk."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.common.checkout import ROOT

from .images import Images

CHECKPOINT, SCORES = "last.ckpt", "images.npz"
CHECKPOINT_STEPS = 20
COLOR_JITTER = 0.3


@dataclass(frozen=True)
class Variant:
    """What is compared: ``options`` are those of ``scrn fit`` that the recipe does not have so."""

    name: str
    title: str
    options: dict[str, object] = field(default_factory=dict)


def network(upsampler: str, context: str) -> dict[str, object]:
    """The options of a variant that is another network."""
    return {"model.upsampler": upsampler, "model.context": context}


@dataclass(frozen=True)
class Run:
    """A variant on a data set from a seed; ``data`` is a folder in SegNet's layout."""

    variant: Variant
    data: Path
    seed: int
    name: str


@dataclass(frozen=True)
class Budget:
    """What every run gets alike; the rest is the recipe ``camvid.yaml``, but for its averaging of
    the weights, which is made for more steps than these, and its colour jitter, which was found by
    such runs."""

    epochs: int = 10
    seeds: tuple[int, ...] = (0, 1)
    crop: tuple[int, int] = (256, 320)
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or (self.steps is not None and self.steps < 1):
            raise ValueError(f"--epochs, --steps: expected at least 1, got {self}")
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise ValueError(f"--seeds: expected different ones, got {self.seeds}")


class Runs:
    """Runs of a budget, in a folder; each has a folder in it.

    Raises:
        ValueError: the folder holds runs of another budget.
    """

    def __init__(self, folder: Path, budget: Budget, runs: Sequence[Run]) -> None:
        self.folder, self.budget, self.runs = folder, budget, runs
        note = folder / "budget.json"
        own = json.loads(json.dumps(asdict(budget)))
        if note.is_file():
            found = json.loads(note.read_text())
            # More seeds only add runs.
            if found | {"seeds": None} != own | {"seeds": None}:
                raise ValueError(
                    f"--output: expected runs of {own}, {folder} holds those of {found}"
                )
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(own, indent=1) + "\n")

    def train(self, jobs: int, report: Callable[[str], None]) -> list[str]:
        """Finishes every run; the names of those that failed."""

        def one(run: Run) -> str | None:
            return None if self._finish(run, report) else run.name

        with ThreadPoolExecutor(jobs) as pool:
            return [name for name in pool.map(one, self.runs) if name is not None]

    def scores(self) -> dict[str, Images]:
        """By name, of the runs that have ended."""
        paths = {run.name: self.folder / run.name / SCORES for run in self.runs}
        return {name: Images.load(path) for name, path in paths.items() if path.is_file()}

    def _finish(self, run: Run, report: Callable[[str], None]) -> bool:
        folder = self.folder / run.name
        folder.mkdir(exist_ok=True)
        if (folder / SCORES).is_file():
            report(f"{run.name}: done before")
            return True
        with _claim(folder) as lock:
            if lock is None:
                report(f"{run.name}: another process is at it")
                return True
            report(f"{run.name}: {'goes on' if (folder / CHECKPOINT).is_file() else 'begins'}")
            done = self._call(folder, lock, self._fit(folder, run)) and self._call(
                folder, lock, self._evaluate(folder, run)
            )
            report(f"{run.name}: {'done' if done else 'FAILED'}")
            return done

    def _fit(self, folder: Path, run: Run) -> list[str]:
        checkpoint = folder / CHECKPOINT
        callback = {
            "class_path": "scrn.engine.checkpoint.LastCheckpoint",
            "init_args": {"every_n_train_steps": CHECKPOINT_STEPS, "dirpath": str(folder)},
        }
        logger = {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": str(folder), "name": "csv"},
        }
        options = {
            "config": "camvid.yaml",
            "seed_everything": run.seed,
            "data.root": run.data,
            "data.workers": 0,
            "data.seed": run.seed,
            "data.crop": json.dumps(self.budget.crop),
            "data.color_jitter": COLOR_JITTER,
            "model.seed": run.seed,
            **run.variant.options,
            "trainer.accelerator": "cpu",
            "trainer.max_epochs": self.budget.epochs,
            "trainer.limit_val_batches": 0,
            "trainer.callbacks": json.dumps([callback]),
            "trainer.logger": json.dumps([logger]),
            "trainer.enable_progress_bar": "false",
            "trainer.enable_model_summary": "false",
        }
        if self.budget.steps is not None:
            options["trainer.max_steps"] = self.budget.steps
        if checkpoint.is_file():
            options["ckpt_path"] = checkpoint
        return ["scrn.cli", "fit", *(f"--{key}={value}" for key, value in options.items())]

    def _evaluate(self, folder: Path, run: Run) -> list[str]:
        arguments = (folder / CHECKPOINT, run.data, folder / SCORES)
        return ["experiments.camvid.images", *map(str, arguments)]

    def _call(self, folder: Path, lock: int, module: list[str]) -> bool:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
        with (folder / "log").open("a") as log:
            # The lock is the child's, too: should this process die, its run stays taken until
            # the child has ended.
            return not subprocess.call(
                [sys.executable, "-m", *module],
                env=os.environ | threads | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                pass_fds=[lock],
            )


@contextmanager
def _claim(folder: Path) -> Iterator[int | None]:
    """The lock of a run, or None where another process has it."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()
