"""The command of an experiment: options, training, the table on the screen and in a page."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import pages
from benchmarks.common.camvid import camvid_root

from .images import Images
from .runs import Budget, Run, Runs, Variant


@dataclass(frozen=True)
class Experiment:
    """What is trained and how it is told.

    Attributes:
        name: of the output's folder and files, and of the page's section.
        budget: by default.
        variants: what is compared.
        runs: of some variants, by CamVid's folder, the output's folder and the budget.
        summarise: as JSON takes it, of the scores of the runs that have ended, by their names.
        markdown: of that.
    """

    name: str
    budget: Budget
    variants: tuple[Variant, ...]
    runs: Callable[[Sequence[Variant], Path, Path, Budget], list[Run]]
    summarise: Callable[[Budget, Sequence[Run], dict[str, Images]], dict[str, Any]]
    markdown: Callable[[dict[str, Any]], str]


def parse(
    experiment: Experiment, description: str | None, argv: Sequence[str] | None
) -> argparse.Namespace:
    name, default = experiment.name, experiment.budget
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.camvid.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=Path("outputs") / name, metavar="DIR")
    parser.add_argument("--root", type=Path, metavar="DIR", help="CamVid, in SegNet's layout")
    names = [variant.name for variant in experiment.variants]
    parser.add_argument(
        "--variants", nargs="+", choices=names, default=names, help="of these alone (%(default)s)"
    )
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


def main(experiment: Experiment, description: str | None, argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 where a run failed, or a page was not written; 2 for bad arguments."""
    options = parse(experiment, description, argv)
    root = options.root or camvid_root()
    if root is None:
        print("--root: expected the folder of CamVid (or SCRN_CAMVID), got none", file=sys.stderr)
        return 2
    variants = [each for each in experiment.variants if each.name in options.variants]
    try:
        budget = Budget(options.epochs, tuple(options.seeds), tuple(options.crop), options.steps)
        if options.page:
            pages.filled(options.page.read_text(), experiment.name, "")
        wanted = experiment.runs(variants, root.resolve(), options.output, budget)
        runs = Runs(options.output, budget, wanted)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    failed = []
    if not options.report:
        failed = runs.train(options.jobs, lambda text: print(text, file=sys.stderr, flush=True))
    scores = runs.scores()
    result = experiment.summarise(budget, wanted, scores)
    text = experiment.markdown(result)
    written = [options.output / f"{experiment.name}.{suffix}" for suffix in ("json", "md")]
    written[0].write_text(json.dumps(result, indent=1) + "\n")
    written[1].write_text(text)
    print(text)
    print(f"written: {written[0]}, {written[1]}")
    for name in failed:
        print(f"failed: {name}, see {options.output / name / 'log'}", file=sys.stderr)
    if options.page:
        if len(scores) < len(wanted):
            print(f"{options.page}: not written, as not every run has ended", file=sys.stderr)
            return 1
        page = pages.filled(options.page.read_text(), experiment.name, text)
        options.page.write_text(page)
    return int(bool(failed))
