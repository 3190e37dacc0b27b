"""``python -m benchmarks.readme``: writes the README's lines on speed and the tables of
docs/performance.md from the results kept in benchmarks/results. It measures nothing; ``--check``
only says whether they are up to date.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from . import summary
from .common import pages, yardstick
from .common.checkout import CHANGED, ROOT
from .gpu import record, report
from .gpu.collect import PREDICTIONS
from .ops import bars
from .ops.case import BASELINE, OURS
from .ops.report import page as ops
from .ops.results import Document

RESULTS = ROOT / "benchmarks" / "results" / "cpu"
GPU_RESULTS = ROOT / "benchmarks" / "results"
# What a page may have between its marks.
SPEED, SECTION, GPU_SECTION = "speed", "performance", "gpu"
PAGES = (ROOT / "README.md", ROOT / "docs" / "performance.md")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__)
    folder: dict[str, Any] = {"type": Path, "metavar": "DIR"}
    parser.add_argument("--results", default=RESULTS, **folder, help="a run's JSON")
    parser.add_argument("--gpu-results", default=GPU_RESULTS, **folder, help="benchmarks.gpu's")
    parser.add_argument("--page", type=Path, nargs="+", default=PAGES, metavar="PATH", dest="pages")
    parser.add_argument("--keep", **folder, help="first copy a run's JSON from there, to be kept")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if old")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    if options.keep is not None:
        found = [options.keep / name for name in (summary.RESULTS, summary.NETWORK)]
        found = [path for path in found if path.is_file()]
        for path in found:
            facts = json.loads(path.read_text())["environment"]
            if yardstick.refused(path, facts):
                return yardstick.CANNOT_JUDGE
            commit = facts["commit"]
            if not commit or commit.endswith(CHANGED):
                print(f"{path}: expected a run of a commit, got {commit!r}", file=sys.stderr)
                return 2
        options.results.mkdir(parents=True, exist_ok=True)
        for path in found:
            shutil.copy2(path, options.results / path.name)
    path = options.results / summary.RESULTS
    read = Document.load(path)
    if yardstick.refused(path, read.environment):
        return yardstick.CANNOT_JUDGE
    network = summary.network(options.results)
    old = False
    for path in options.pages:
        page = path.read_text()
        sections = {
            SPEED: lambda: speed(read, network, options.gpu_results),
            SECTION: lambda: ops.readme(read, network),
            GPU_SECTION: lambda here=path: gpu_section(options.gpu_results, here),
        }
        made, found = page, [name for name in sections if pages.marks(name)[0] in page]
        if not found:
            raise ValueError(
                f"{path}: expected {' or '.join(pages.marks(name)[0] for name in sections)}"
            )
        for name in found:
            made = pages.filled(made, name, sections[name]())
        old |= page != made
        if not options.check:
            path.write_text(made)
        elif page != made:
            print(f"{path}: old; python -m benchmarks.readme renews it", file=sys.stderr)
    return int(old and options.check)


def speed(read: Document, network: dict[str, Any] | None, gpu_results: Path) -> str:
    """A line for the CPU, one for every GPU, one for the whole network."""
    facts, threads = read.environment, read.results.threads
    ratio = partial(read.results.ratio, threads=threads, first=BASELINE, second=OURS)
    leads = bars.leads((each.op, each.direction, ratio(each)) for each in read.results.shown())
    lines = [f"- **CPU** ({facts['cpu']}, {threads} threads), over the chain of PyTorch: {leads}."]
    predictions = record.read(gpu_results / PREDICTIONS)
    for merged in gpu_measured(gpu_results).values():
        lines.append(f"- **GPU**, {report.speed(merged, predictions)}")
    if network is not None:
        lines.append(f"- **Whole network**, {ops.network_lead(network)}.")
    return "\n".join(lines)


def gpu_measured(results: Path) -> dict[Path, Any]:
    """Of every GPU that was measured, by its file."""
    paths = (path for path in sorted(results.glob("*.json")) if path.name != PREDICTIONS)
    return {path: record.read(path) for path in paths}


def gpu_section(results: Path, page: Path) -> str:
    by_link = {
        Path(os.path.relpath(path.with_suffix(".md"), page.parent)).as_posix(): merged
        for path, merged in gpu_measured(results).items()
    }
    return report.readme(by_link, record.read(results / PREDICTIONS))


if __name__ == "__main__":
    sys.exit(main())
