"""The process of one engine: builds it, says how far its logits are off, and answers what it is
asked. ``python -m benchmarks.network.worker ARGUMENTS``

A question is a line of JSON: the name of one of the functions here, and its arguments.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..common import resident
from .engines import EXPECTED, Built, Engine, Task, build


def turn(built: Built) -> dict[str, float]:
    """One call; the peak is that of the whole process. One goes before that is not timed, since the
    caches are those of the other processes, and a GPU's clocks fall between the turns."""
    built.call()
    start, busy = time.perf_counter(), time.process_time()
    built.call()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - busy
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": resident.peak()}


def inference_bytes(built: Built) -> int:
    from .measure import inference_bytes

    return inference_bytes(built.model, built.image)


def parts(built: Built, runs: int) -> dict[str, float]:
    from .measure import inference_by_part

    return inference_by_part(built.model, built.image, runs)


def operators(built: Built, runs: int, rates: list[float]) -> dict[str, Any]:
    from .measure import Rates, inference_by_operator

    return inference_by_operator(built.model, built.image, runs, Rates(*rates))


QUESTIONS = {each.__name__: each for each in (turn, inference_bytes, parts, operators)}


def main(arguments: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer

    def answer(content: object) -> None:
        print(json.dumps(content), file=answers, flush=True)

    settings, (folder, *rest) = json.loads(arguments)
    task = Task(Path(folder), *rest)
    built = build(Engine(**settings), task)
    expected = np.load(task.folder / EXPECTED)
    error = np.linalg.norm(built.logits().astype(np.float64) - expected) / np.linalg.norm(expected)
    del expected
    resident.forget_peak()
    answer(float(error))
    for line in sys.stdin:
        name, *values = json.loads(line)
        answer(QUESTIONS[name](built, *values))


if __name__ == "__main__":
    main(sys.argv[1])
