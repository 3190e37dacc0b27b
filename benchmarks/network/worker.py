"""The process of one engine: builds it, says how far its logits are off, and then makes a call and
tells its seconds whenever it is asked. ``python -m benchmarks.network.worker ARGUMENTS``"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

import numpy as np

from ..common import resident
from .engines import EXPECTED, Engine, build


def main(arguments: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    settings, folder, *rest = json.loads(arguments)
    call = build(Engine(**settings), Path(folder), *rest)
    expected = np.load(Path(folder) / EXPECTED)
    error = np.linalg.norm(call().astype(np.float64) - expected) / np.linalg.norm(expected)
    del expected
    resident.forget_peak()
    _answer(answers, {"error": float(error)})
    for _ in sys.stdin:
        start, busy = time.perf_counter(), time.process_time()
        call()
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - busy
        peak = resident.peak()
        _answer(answers, {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak})


def _answer(answers: TextIO, content: dict[str, float]) -> None:
    print(json.dumps(content), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
