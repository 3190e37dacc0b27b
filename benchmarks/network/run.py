"""One size of image: every engine in a process of its own, the gate, and what each is asked."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch

from scrn.models import with_ops

from ..common.checkout import CHANGED, ROOT, commit
from .engines import EXPECTED, IMAGE, NUM_CLASSES, ONNX, OURS, PLAIN, WEIGHTS, Engine, Task
from .measure import Rates, Work
from .weights import calibrated

LARGE, MIDDLE, CAMVID_SIZE = (1024, 2048), (512, 1024), (360, 480)
OPSET = 18
PAUSE = 0.1  # seconds before a turn: threads that wait for work spin for a while
MADE_OF = "made_of.json"  # written last, so that what has it is whole


@dataclass
class Row:
    """What was found of an engine: seconds, and those of all threads together, of every round, the
    peak of its process. Of the network itself also ``inference_bytes``, what a call needs beside
    the loaded model, seconds by part and the work by kind of operator."""

    engine: Engine
    error: float = float("nan")
    died: str = ""  # the last words of its process
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    inference_bytes: int | None = None
    parts: dict[str, float] | None = None
    operators: dict[str, Work] = field(default_factory=dict)

    @property
    def is_right(self) -> bool:
        """Written so that an error that is NaN counts as wrong."""
        return not self.died and self.error <= self.engine.allowed

    @property
    def complaint(self) -> str:
        """Why it has no time."""
        if self.died:
            return f"{self.engine.name} ended; its last words: {self.died}"
        off = f"is off by {self.error:.1e} (allowed {self.engine.allowed:.0e})"
        return f"WRONG: {self.engine.name} {off}; it was not timed"

    @property
    def best(self) -> float:
        return min(self.seconds)

    def ratio(self, ours: Row) -> float:
        """Times as long as ours takes: the median of the rounds' ratios."""
        return median(a / b for a, b in zip(self.seconds, ours.seconds, strict=True))


class Worker:
    """The process of an engine; where it dies its row says so, and nothing more is asked of it."""

    def __init__(self, row: Row, task: Task) -> None:
        self.row = row
        arguments = json.dumps([vars(row.engine), task], default=str)
        self.log = (task.folder / f"{row.engine.name}.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", arguments],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip

    def ask(self, *question: object) -> Any:
        """The answer to a question of :mod:`.worker`, or without one to the first, which is how far
        the logits are off; None where the process has died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if self.row.died:
            return None
        line = ""
        try:
            if question:
                print(json.dumps(question), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            pass
        if line:
            return json.loads(line)
        self.log.seek(0)
        self.row.died = (self.log.read().strip().splitlines() or ["nothing"])[-1]
        return None

    def turn(self) -> None:
        answer = self.ask("turn")
        if answer is not None:
            self.row.seconds.append(answer["seconds"])
            self.row.cpu_seconds.append(answer["cpu_seconds"])
            self.row.peak_bytes = answer["peak_bytes"]

    def look(self, rates: Rates) -> None:
        """Where the time goes, in a third as many calls as were timed."""
        runs = max(2, len(self.row.seconds) // 3)
        self.row.parts = self.ask("parts", runs)
        found = self.ask("operators", runs, rates) if self.row.engine == OURS else None
        self.row.operators = {kind: Work(*work) for kind, work in (found or {}).items()}

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.log.close()


@torch.no_grad()
def prepare(task: Task, image: torch.Tensor, source: str, export: bool) -> None:
    """Writes what the engines read: weights, image, the logits that the definition gives in
    float64, and the network as ONNX; unless the folder holds the same already."""
    folder, at = task.folder, commit()
    made_of = {
        "backbone": task.backbone, "image": source, "size": list(image.shape[2:]),
        "commit": at, "torch": torch.__version__, "opset": OPSET if export else None,
    }  # fmt: skip
    marked = folder / MADE_OF
    known = made_of["commit"] is not None and not made_of["commit"].endswith(CHANGED)
    if (
        known
        and marked.is_file()
        and json.loads(marked.read_text()) in (made_of, made_of | {"opset": OPSET})
    ):
        return
    marked.unlink(missing_ok=True)
    model = calibrated(task.backbone, NUM_CLASSES, image)
    torch.save(model.state_dict(), folder / WEIGHTS)
    np.save(folder / IMAGE, image.numpy())
    definition = with_ops(model, "reference").double().eval().to(task.device)
    np.save(folder / EXPECTED, definition(image.double().to(task.device)).cpu().numpy())
    del definition  # the engines' processes may need its memory
    if torch.device(task.device).type == "cuda":
        torch.cuda.empty_cache()
    if export:
        # Which a machine need not have that runs the network alone.
        from scrn.engine.weights import SavedModel
        from scrn.export.onnx import export_onnx

        names = tuple(f"class {i}" for i in range(NUM_CLASSES))
        as_it_is = (0.0,) * 3, (1.0,) * 3  # the image is normalised already
        export_onnx(SavedModel(model, names, *as_it_is), folder / ONNX, opset=OPSET)
    marked.write_text(json.dumps(made_of))


def measure(
    chosen: Sequence[Engine], task: Task, rounds: int, seconds: float, rates: Rates | None = None
) -> list[Row]:
    """In turns: ``rounds`` of them, and more until the seconds have passed. With the rates of the
    device also memory, parts and operators of the network, unless one of the engines is wrong."""
    workers = []
    try:
        for engine in chosen:
            print(f"  {engine.name}", file=sys.stderr, flush=True)
            workers.append(Worker(Row(engine), task))
            error = workers[-1].ask()
            workers[-1].row.error = float("nan") if error is None else error
        right = [worker for worker in workers if worker.row.is_right]
        if rates is not None and len(right) < len(workers):
            return [worker.row for worker in workers]
        for worker in right if rates is not None else ():
            worker.row.inference_bytes = worker.ask("inference_bytes")
        start, done = time.perf_counter(), 0
        while right and (done < rounds or time.perf_counter() - start < seconds):
            for worker in right:
                time.sleep(PAUSE)
                worker.turn()
            right = [worker for worker in right if not worker.row.died]
            done += 1
        for worker in right:
            if rates is not None and worker.row.engine in (PLAIN, OURS):
                worker.look(rates)
    finally:
        for worker in workers:
            worker.end()
    return [worker.row for worker in workers]
