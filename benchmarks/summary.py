"""``python -m benchmarks.summary``: the report and the pictures of what was measured last.

It reads results.json of ``python -m benchmarks`` and, where they are, network.json and the
demonstration's picture; it measures nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from . import derived, document, environment, markdown, pictures, yardstick
from .bars import speedup_text
from .document import Document
from .ops import OURS
from .results import Results
from .runner import YARDSTICKS

WIDTH = 180
OUT = Path("outputs/benchmarks")
RESULTS, NETWORK, DEMO, REPORT = "results.json", "network.json", "demo.png", "report.md"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.summary", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    path = options.out / RESULTS
    if not path.is_file():
        print(f"{path}: not there; python -m benchmarks writes it", file=sys.stderr)
        return 2
    console = Console(highlight=False, soft_wrap=True)
    read = document.load(path)
    if yardstick.refused(path, read.environment):
        return yardstick.CANNOT_JUDGE
    # A row that folds can still be read; one that is cut cannot.
    console.width = max(console.width, WIDTH)
    console.print(environment.headline(read.environment))
    leads(console, read.results)
    console.print()
    write(options.out, console, read)
    return 1 if read.results.failures else 0


def write(folder: Path, console: Console, read: Document | None = None) -> None:
    """Writes the report and the pictures beside the JSON, and says where they are."""
    read = document.load(folder / RESULTS) if read is None else read
    drawn = pictures.draw(read, folder)
    shown = [path.name for path in drawn]
    demo = folder / DEMO
    if demo.is_file():
        shown.append(DEMO)
    # Where there is a GPU its own figures take the place of derived ones.
    without_gpu = [] if "gpu" in read.environment else derived.derive()
    text = markdown.report(read, shown, without_gpu, network(folder))
    (folder / REPORT).write_text(text)
    console.print(f"report: {folder / REPORT}")
    for path in (*drawn, *([demo] if demo.is_file() else [])):
        console.print(f"picture: {path}")


def network(folder: Path) -> dict[str, Any] | None:
    path = folder / NETWORK
    return json.loads(path.read_text()) if path.is_file() else None


def leads(console: Console, results: Results) -> None:
    """One line for each case at the largest number of threads, the smallest lead first."""
    threads = pictures.threads_of(results)
    others = list(
        dict.fromkeys(
            row.implementation
            for row in results.rows
            if row.implementation not in (OURS, *YARDSTICKS)
        )
    )
    table = Table(
        title=f"How many times as long everything else takes, {threads} threads",
        title_justify="left",
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("case", no_wrap=True)
    for name in (f"{OURS} ms", *others, "of floor"):
        table.add_column(name, justify="right", no_wrap=True)
    for case in pictures.shown(results):
        own = results.seconds(case, threads, OURS)
        floor = results.floor_seconds(case, threads)
        cells = []
        for name in others:
            ratio = results.ratio(case, threads, name, OURS, (case.layout,))
            colour = "red" if ratio is not None and ratio < 1 else "green"
            cells.append(f"[{colour}]{speedup_text(ratio)}[/]")
        table.add_row(
            case.name,
            "refused" if own is None else f"{1e3 * own:.3f}",
            *cells,
            "" if own is None or floor is None else f"{100 * floor / own:.0f} %",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
