"""``python -m benchmarks.network.peers``: the network beside the engines that people deploy
networks with on a CPU: torch.compile with freezing, ONNX Runtime, OpenVINO.

The same weights, the same image, the same number of threads. Every engine has a process of its own
and takes its turn in every round; it gets no time if its logits differ from the definition in
float64, and one that dies is named and left out; the exit status is 1 then. Ratios are medians of
the rounds' ratios. CPU time is of all threads together, those that wait for work included. Peak
memory is of the whole process.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from . import report
from .__main__ import parser, run
from .engines import OURS_KEPT, engines
from .run import CAMVID_SIZE, LARGE, MIDDLE, OPSET


def main(argv: Sequence[str] | None = None) -> int:
    made = parser("benchmarks.network.peers", __doc__, [LARGE, MIDDLE, CAMVID_SIZE])
    made.add_argument(
        "--only", nargs="+", metavar="TEXT", help="beside ours, engines whose names have it"
    )
    made.add_argument("--rounds", type=int, default=5, metavar="N", help="at least")
    made.add_argument("--folder", type=Path, help="keep the exported networks there")
    options = made.parse_args(argv)
    chosen, offered = [], engines(torch.cpu._is_avx512_bf16_supported())
    for part in options.only or ():
        if not any(part in engine.name for engine in offered):
            names = ", ".join(engine.name for engine in offered)
            made.error(f"--only: expected a part of {names}; got {part!r}")
    for engine in offered:
        named = not options.only or any(part in engine.name for part in options.only)
        if not (named or engine == OURS_KEPT):  # ours is what the others are compared with
            continue
        if engine.missing:
            print(f"{engine.name}: {engine.missing} is not installed (pip install '.[peers]')")
        else:
            chosen.append(engine)
    return run(options, chosen, {"opset": OPSET}, None, report.engines)


if __name__ == "__main__":
    sys.exit(main())
