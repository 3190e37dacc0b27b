"""``python -m benchmarks.network``: the whole network on a real image, with eager and with fused
ops, as it is and rewritten for inference.

Every variant has a process of its own and takes its turn in every round. Times are those of the C
library's memory allocator, as users have it, unless --keep-memory is given. A variant whose logits
differ from the definition in float64 stops the run before anything is timed, and the exit status
is 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from ..common import environment, timing, yardstick
from . import images, report
from .engines import VARIANTS, Engine, Task
from .measure import Rates
from .run import CAMVID_SIZE, LARGE, Row, measure, prepare
from .weights import forbid_tf32


def parser(prog: str, about: str | None, sizes: list[tuple[int, int]]) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"python -m {prog}", description=about)
    made.add_argument("--backbone", default="mscan_s", help="see scrn.build_model")
    made.add_argument("--size", type=size_of, nargs="+", default=sizes, metavar="HxW")
    made.add_argument(
        "--seconds",
        type=float,
        help="of timing at each size, if the rounds do not take longer (default 20, quick 5)",
    )
    made.add_argument("--threads", type=int, default=torch.get_num_threads(), metavar="N")
    made.add_argument("--json", type=Path, metavar="PATH", help="also write everything there")
    made.set_defaults(device="cpu", folder=None, quick=False, keep_memory=False, rounds=3)
    return made


def size_of(text: str) -> tuple[int, int]:
    try:
        height, width = map(int, text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH, got {text!r}") from None
    return height, width


def run(
    options: argparse.Namespace,
    chosen: Sequence[Engine],
    facts: dict[str, object],
    rates: Rates | None,
    text: Callable[[list[Row], tuple[int, int]], Iterable[str]],
) -> int:
    """Measures the engines at every size; the exit status is 1 where one of them was wrong or has
    died."""
    torch.set_num_threads(options.threads)
    source, path = images.find()
    common = {"backbone": options.backbone, "image": source, "threads": options.threads}
    facts = environment.describe(options.device) | common | facts
    print(environment.headline(facts))
    seconds = options.seconds
    if seconds is None:
        seconds = 5.0 if options.quick else 20.0
    status, sizes = 0, []
    for size in options.size[:1] if options.quick else options.size:
        print(f"\n{options.backbone}, {source} at {size[0]}x{size[1]}, {options.threads} threads")
        with tempfile.TemporaryDirectory() as temporary:
            name = f"{options.backbone}_{size[0]}x{size[1]}"
            task = Task(
                (options.folder or Path(temporary)) / name,
                options.backbone, options.threads, options.device, options.keep_memory,
            )  # fmt: skip
            task.folder.mkdir(parents=True, exist_ok=True)
            export = any(engine.reads_onnx for engine in chosen)
            prepare(task, images.load(path, size), source, export)
            rows = measure(chosen, task, options.rounds, seconds, rates)
        print(*text(rows, size), sep="\n")
        status |= not all(row.is_right for row in rows)
        sizes.append(report.as_json(rows, size))
    if options.json:
        report.write_json(options.json, facts, sizes)
        print(f"\nwritten: {options.json}")
    return status


def main(argv: Sequence[str] | None = None) -> int:
    made = parser("benchmarks.network", __doc__, [CAMVID_SIZE, LARGE])
    made.add_argument("--quick", action="store_true", help="the first size alone, less time")
    made.add_argument(
        "--keep-memory",
        action="store_true",
        help="let the C allocator reuse what was freed, as other allocators do, while timing",
    )
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = made.parse_args(argv)
    forbid_tf32()
    rates = Rates(
        timing.matrix_product_rate(torch.float32, options.device, options.threads),
        yardstick.copy_rate(options.device, options.threads),
    )
    facts = {
        "tf32": torch.backends.cudnn.allow_tf32,
        "allocator": "keeps freed memory" if options.keep_memory else "default",
    }
    return run(
        options, VARIANTS, facts, rates, lambda rows, size: report.variants(rows, size, rates)
    )


if __name__ == "__main__":
    sys.exit(main())
