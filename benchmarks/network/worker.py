"""The process of one engine: builds it, says how far its logits are off, and then makes a call and
tells its seconds whenever it is asked. ``python -m benchmarks.network.worker ARGUMENTS``"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

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
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
        _answer(answers, {"seconds": seconds, "peak_bytes": resident.peak()})


def _answer(answers: object, content: dict[str, float]) -> None:
    print(json.dumps(content), file=answers, flush=True)  # type: ignore[call-overload]


if __name__ == "__main__":
    main(sys.argv[1])
