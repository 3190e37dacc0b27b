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

from .common import environment, yardstick
from .common.tables import number, percent, table
from .ops import derived
from .ops.bars import speedup_text
from .ops.case import OURS
from .ops.report import page, pictures
from .ops.results import YARDSTICKS, Document, Results

OUT = Path("outputs/benchmarks")
RESULTS, NETWORK, DEMO, REPORT = "results.json", "network.json", "demo.png", "report.md"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.summary", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR")
    folder = parser.parse_args(argv).out
    path = folder / RESULTS
    if not path.is_file():
        print(f"{path}: not there; python -m benchmarks writes it", file=sys.stderr)
        return 2
    read = Document.load(path)
    if yardstick.refused(path, read.environment):
        return yardstick.CANNOT_JUDGE
    print(environment.headline(read.environment))
    print(f"How many times as long everything else takes, {read.results.threads} threads\n")
    print(leads(read.results), end="\n\n")
    drawn = pictures.draw(read, folder)
    drawn += [each for each in (folder / DEMO,) if each.is_file()]
    # Where there is a GPU its own figures take the place of derived ones.
    without_gpu = [] if "gpu" in read.environment else derived.derive()
    text = page.report(read, [each.name for each in drawn], without_gpu, network(folder))
    (folder / REPORT).write_text(text)
    print(f"report: {folder / REPORT}")
    for picture in drawn:
        print(f"picture: {picture}")
    return 1 if read.results.failures else 0


def network(folder: Path) -> dict[str, Any] | None:
    path = folder / NETWORK
    return json.loads(path.read_text()) if path.is_file() else None


def leads(results: Results) -> str:
    """One line for each case at the largest number of threads, the smallest lead first."""
    threads = results.threads
    names = dict.fromkeys(row.implementation for row in results.rows)
    others = [name for name in names if name not in (OURS, *YARDSTICKS)]
    rows = []
    for case in results.shown():
        own = results.seconds(case, threads, OURS)
        rows.append((
            case.name,
            "refused" if own is None else number(own, 3, 1e3),
            *(speedup_text(results.ratio(case, threads, name, OURS)) for name in others),
            percent(results.share_of_floor(case, threads, OURS)),
        ))  # fmt: skip
    return table(("case", f"{OURS} ms", *others, "of floor"), rows)


if __name__ == "__main__":
    sys.exit(main())
