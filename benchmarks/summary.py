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

from .common import yardstick
from .ops import derived
from .ops.report import page, pictures
from .ops.results import Document

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
    print(page.readme(read, None), end="\n\n")
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


if __name__ == "__main__":
    sys.exit(main())
