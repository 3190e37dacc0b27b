"""``python -m benchmarks.readme``: writes the README's performance sections, the CPU's and the
GPU's, from the results kept in benchmarks/results. It measures nothing; ``--check`` only says
whether they are up to date.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from . import summary
from .common import pages, yardstick
from .common.checkout import CHANGED, ROOT
from .gpu import record, report
from .gpu.collect import PREDICTIONS
from .ops.report import page as ops
from .ops.results import Document

RESULTS = ROOT / "benchmarks" / "results" / "cpu"
SECTION = "performance"
GPU_RESULTS = ROOT / "benchmarks" / "results"
GPU_SECTION = "gpu"  # of a page that has it


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__)
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="DIR",
        help="with results.json and, if there is one, network.json",
    )
    parser.add_argument(
        "--gpu-results",
        type=Path,
        default=GPU_RESULTS,
        metavar="DIR",
        help="with what benchmarks.gpu.collect wrote",
    )
    parser.add_argument("--page", type=Path, default=ROOT / "README.md", metavar="PATH")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="first copy a run's JSON from there, to be kept"
    )
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
    section = ops.readme(read, summary.network(options.results))
    page = options.page.read_text()
    made = pages.filled(page, SECTION, section)
    if pages.marks(GPU_SECTION)[0] in page:
        made = pages.filled(made, GPU_SECTION, gpu_section(options.gpu_results, options.page))
    if options.check:
        if page != made:
            print(f"{options.page}: old; python -m benchmarks.readme renews it", file=sys.stderr)
        return int(page != made)
    options.page.write_text(made)
    return 0


def gpu_section(results: Path, page: Path) -> str:
    """Of every GPU that was measured."""
    found = {
        Path(os.path.relpath(path.with_suffix(".md"), page.parent)).as_posix(): record.read(path)
        for path in sorted(results.glob("*.json"))
        if path.name != PREDICTIONS
    }
    return report.readme(found, record.read(results / PREDICTIONS))


if __name__ == "__main__":
    sys.exit(main())
