"""``python -m benchmarks.network.peers``: the network beside the engines that people deploy
networks with on a CPU: torch.compile with freezing, ONNX Runtime, OpenVINO.

The same weights, the same image, the same number of threads. Every engine has a process of its own
and takes its turn in every round; it gets no time if its logits differ from the definition in
float64. Ratios are medians of the rounds' ratios. CPU time is of all threads together, those that
wait for work included. Peak memory is of the whole process.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from scrn.models import with_ops

from ..common import environment
from ..common.checkout import ROOT
from ..common.tables import number, table
from . import images
from .__main__ import CAMVID_SIZE, size_of
from .engines import EXPECTED, IMAGE, ONNX, OURS, WEIGHTS, Engine, engines
from .run import LARGE
from .variants import calibrated

MIDDLE = (512, 1024)
TARGETS = {LARGE: 1.4, MIDDLE: 1.2, CAMVID_SIZE: 1.0}  # over the best of the others
OPSET = 18
PAUSE = 0.1  # seconds before a turn: threads that wait for work spin for a while
NUM_CLASSES = 19


@dataclass
class Row:
    """What was found of an engine; ``seconds``, and those of all threads together, of every
    round."""

    engine: Engine
    error: float = float("nan")
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    @property
    def is_right(self) -> bool:
        return self.error <= self.engine.allowed

    def ratio(self, ours: Row) -> float:
        """Times as long as ours takes."""
        return median(a / b for a, b in zip(self.seconds, ours.seconds, strict=True))


class Worker:
    """The process of an engine."""

    def __init__(self, row: Row, folder: Path, backbone: str, threads: int) -> None:
        self.row = row
        settings = dataclasses.asdict(row.engine)
        arguments = json.dumps([settings, str(folder), backbone, NUM_CLASSES, threads])
        self.log = (folder / f"{row.engine.name}.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", arguments],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip
        try:
            row.error = self._answer()["error"]
        except BaseException:
            self.end()
            raise

    def turn(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self._answer()
        self.row.seconds.append(answer["seconds"])
        self.row.cpu_seconds.append(answer["cpu_seconds"])
        self.row.peak_bytes = int(answer["peak_bytes"])

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.log.close()

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            said = self.log.read().strip().splitlines() or ["nothing"]
            raise RuntimeError(f"{self.row.engine.name} ended; its last words: {said[-1]}")
        answer: dict[str, float] = json.loads(line)
        return answer


@torch.no_grad()
def prepare(folder: Path, backbone: str, image: torch.Tensor, export: bool) -> None:
    """Writes what the engines read: weights, image, the logits that the definition gives in
    float64, and the network as ONNX."""
    model = calibrated(backbone, NUM_CLASSES, image)
    torch.save(model.state_dict(), folder / WEIGHTS)
    np.save(folder / IMAGE, image.numpy())
    definition = with_ops(model, "reference").double().eval()
    np.save(folder / EXPECTED, definition(image.double()).numpy())
    if not export:
        return
    exported = with_ops(model, "eager").eval()
    torch.onnx.export(
        exported, (image,), folder / ONNX, opset_version=OPSET, external_data=False,
        dynamo=True, verbose=False,
    )  # fmt: skip


def measure(
    chosen: Iterable[Engine], folder: Path, backbone: str, threads: int, rounds: int, seconds: float
) -> list[Row]:
    """In turns: ``rounds`` of them, and more until the seconds have passed."""
    workers = []
    try:
        for engine in chosen:
            print(f"  {engine.name}", file=sys.stderr, flush=True)
            workers.append(Worker(Row(engine), folder, backbone, threads))
        right = [worker for worker in workers if worker.row.is_right]
        start, done = time.perf_counter(), 0
        while done < rounds or time.perf_counter() - start < seconds:
            for worker in right:
                time.sleep(PAUSE)
                worker.turn()
            done += 1
    finally:
        for worker in workers:
            worker.end()
    return [worker.row for worker in workers]


def text(rows: Sequence[Row], size: tuple[int, int]) -> str:
    """A table, what is faster than ours first, and the verdict."""
    wrong = [row for row in rows if not row.is_right]
    lines = [f"WRONG: {r.engine.name} is off by {r.error:.1e}; it was not timed" for r in wrong]
    ours = next((row for row in rows if row.engine == OURS and row.is_right), None)
    if ours is None:
        return "\n".join([*lines, f"{OURS.name} was not timed, so nothing is compared"])
    timed = sorted((row for row in rows if row.is_right), key=lambda row: row.ratio(ours))
    cells = [
        (row.engine.name, number(row.ratio(ours), 2), number(median(row.seconds), 0, 1e3),
         number(min(row.seconds), 0, 1e3), number(min(row.cpu_seconds), 0, 1e3),
         number(row.peak_bytes, 0, 1e-6), f"{row.error:.1e}")
        for row in timed
    ]  # fmt: skip
    head = ("", "x ours", "median ms", "least ms", "least CPU ms", "process peak MB", "error")
    lines.append(table(head, cells))
    others = [row for row in timed if not row.engine.is_ours and not row.engine.bfloat16]
    if others:
        best, target = others[0], TARGETS.get(size)
        line = f"{OURS.name}: x{best.ratio(ours):.2f} over {best.engine.name}, the best other"
        if target is not None:
            met = "met" if best.ratio(ours) >= target else "MISSED"
            line += f" (target: {target}): {met}"
        lines.append(line)
    return "\n".join(lines)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.network.peers", description=__doc__)
    parser.add_argument("--backbone", default="mscan_s", help="see scrn.build_model")
    sizes = [LARGE, MIDDLE, CAMVID_SIZE]
    parser.add_argument("--size", type=size_of, nargs="+", default=sizes, metavar="HxW")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="engines whose names have it")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="at least")
    parser.add_argument("--seconds", type=float, default=20, help="of timing at each size")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), metavar="N")
    parser.add_argument("--folder", type=Path, help="keep the exported networks there")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write everything there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    torch.set_num_threads(options.threads)
    chosen = []
    for engine in engines(torch.cpu._is_avx512_bf16_supported()):
        if options.only and not any(part in engine.name for part in options.only):
            continue
        if engine.missing:
            print(f"{engine.name}: {engine.missing} is not installed (pip install '.[peers]')")
        else:
            chosen.append(engine)
    facts = environment.describe("cpu") | {"threads": options.threads}
    source, path = images.find()
    facts |= {"backbone": options.backbone, "image": source, "opset": OPSET}
    print(environment.headline(facts))
    sizes: list[dict[str, Any]] = []
    wrong = False
    for size in options.size:
        print(f"\n{options.backbone}, {source} at {size[0]}x{size[1]}, {options.threads} threads")
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            if options.folder:
                folder = options.folder / f"{options.backbone}_{size[0]}x{size[1]}"
                folder.mkdir(parents=True, exist_ok=True)
            export = any(engine.reads_onnx for engine in chosen)
            if not (folder / (ONNX if export else EXPECTED)).exists():
                prepare(folder, options.backbone, images.load(path, size), export)
            rows = measure(
                chosen, folder, options.backbone, options.threads, options.rounds, options.seconds
            )
        print(text(rows, size))
        wrong |= not all(row.is_right for row in rows)
        sizes.append({"size": size, "rows": [dataclasses.asdict(row) for row in rows]})
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        content = {"environment": facts, "sizes": sizes}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
