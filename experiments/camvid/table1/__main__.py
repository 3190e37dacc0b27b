"""``python -m experiments.camvid.table1``: the paper's Table I in small, on CamVid.

Trains the baseline (bilinear, F4), with SRM, with CRM and with both, each from the same seeds and
with the same budget, and compares them on the validation images. It takes hours: killed at any
time and started again with the same options, it goes on where it was, at the last checkpoint of
each run. Several of these commands may work on one folder; a run belongs to one at a time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import pages
from benchmarks.common.camvid import camvid_root

from . import report
from .runs import Budget, Runs

SECTION = "table1"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    default = Budget()
    parser = argparse.ArgumentParser(
        prog="python -m experiments.camvid.table1", description=__doc__
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/table1"), metavar="DIR")
    parser.add_argument("--root", type=Path, metavar="DIR", help="CamVid, in SegNet's layout")
    parser.add_argument("--epochs", type=int, default=default.epochs, help="(%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=default.seeds, metavar="N")
    parser.add_argument(
        "--crop", type=int, nargs=2, default=default.crop, metavar=("H", "W"), help="of training"
    )
    parser.add_argument("--steps", type=int, help="stop after so many steps, to try the command")
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs side by side, of one thread each (%(default)s)"
    )
    parser.add_argument(
        "--report", action="store_true", help="train nothing, show what there is already"
    )
    parser.add_argument(
        "--page", type=Path, metavar="PATH", help="also write the table into that page's section"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    root = options.root or camvid_root()
    if root is None:
        print("--root: expected the folder of CamVid (or SCRN_CAMVID), got none", file=sys.stderr)
        return 2
    try:
        budget = Budget(options.epochs, tuple(options.seeds), tuple(options.crop), options.steps)
        if options.page:
            pages.filled(options.page.read_text(), SECTION, "")
        runs = Runs(options.output, root.resolve(), budget)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    failed = []
    if not options.report:
        failed = runs.train(options.jobs, lambda text: print(text, file=sys.stderr, flush=True))
    scores = runs.scores()
    result = report.summarise(budget, scores)
    report.write(options.output, result)
    print(report.markdown(result))
    print(f"written: {options.output / report.JSON}, {options.output / report.MARKDOWN}")
    for name in failed:
        print(f"failed: {name}, see {options.output / name / 'log'}", file=sys.stderr)
    if options.page:
        if any(len(found) < len(budget.seeds) for found in scores.values()):
            print(f"{options.page}: not written, as not every run has ended", file=sys.stderr)
            return 1
        page = pages.filled(options.page.read_text(), SECTION, report.markdown(result))
        options.page.write_text(page)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
