"""``python -m benchmarks.network``: the whole network on a real image, with eager and with fused
ops, as it is and rewritten for inference.

Times are those of the C library's memory allocator, as users have it, unless --keep-memory is
given. A variant whose logits differ from the definition in float64 stops the run before anything
is timed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from scrn_ops._core.allocator import keep_freed_memory

from ..common import environment, timing, yardstick
from . import images, measure, report, variants
from .run import LARGE, run

CAMVID_SIZE = (360, 480)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.network", description=__doc__)
    parser.add_argument("--backbone", default="mscan_s", help="see scrn.build_model")
    parser.add_argument(
        "--size", type=size_of, nargs="+", default=[CAMVID_SIZE, LARGE], metavar="HxW"
    )
    parser.add_argument("--quick", action="store_true", help="the first size alone, less time")
    parser.add_argument(
        "--seconds",
        type=float,
        help="of timing at each size, if three rounds do not take longer (default 20, quick 5)",
    )
    parser.add_argument(
        "--keep-memory",
        action="store_true",
        help="let the C allocator reuse what was freed, as other allocators do, while timing",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), metavar="N")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write everything there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    torch.set_num_threads(options.threads)
    variants.forbid_tf32()
    if options.keep_memory:
        keep_freed_memory()
    source, path = images.find()
    facts = environment.describe(options.device)
    facts |= {"backbone": options.backbone, "image": source, "threads": options.threads}
    facts["tf32"] = torch.backends.cudnn.allow_tf32
    facts["allocator"] = "keeps freed memory" if options.keep_memory else "default"
    print(environment.headline(facts))
    rates = measure.Rates(
        timing.matrix_product_rate(torch.float32, options.device, options.threads),
        yardstick.copy_rate(options.device, options.threads),
    )
    outcomes = []
    for size in options.size[:1] if options.quick else options.size:
        print(f"\n{options.backbone}, {source} at {size[0]}x{size[1]}, {options.threads} threads")
        outcome = run(
            options.backbone,
            images.load(path, size).to(options.device),
            rates,
            seconds=options.seconds or (5 if options.quick else 20),
            report=lambda text: print(f"  {text}", file=sys.stderr, flush=True),
        )
        outcomes.append(outcome)
        print(report.text(outcome, rates))
    if options.json:
        report.write_json(options.json, facts, outcomes)
        print(f"\nwritten: {options.json}")
    return int(any(outcome.wrong for outcome in outcomes))


def size_of(text: str) -> tuple[int, int]:
    try:
        height, width = map(int, text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH, got {text!r}") from None
    return height, width


if __name__ == "__main__":
    sys.exit(main())
