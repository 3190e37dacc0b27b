"""``python -m benchmarks.gpu.collect DIR``: merges what gpu_check.sh wrote to DIR into
benchmarks/results/<device>.json, and writes the report beside it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.checkout import ROOT
from . import record
from .check import CHECK, NO_DEVICE, STAGES, file_of
from .report import report

RESULTS = ROOT / "benchmarks" / "results"
PREDICTIONS = "predictions.json"
LEFT_OUT = ("log_tail", "commands")  # of a stage: for whoever looks at DIR itself
TEST_NAMES = "passed"  # of a suite: the report counts them


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def merge(folder: Path) -> dict[str, Any]:
    """What the stages found, by name.

    Raises:
        ValueError: the folder is not one of gpu_check.sh.
    """
    check = record.read(folder / CHECK)
    if check is None:
        raise ValueError(f"{folder}: expected {CHECK}, which gpu_check.sh writes, found none")
    device = check["device"] or {"name": NO_DEVICE}
    merged = {
        "device": device["name"],
        **{name: check.get(name) for name in ("date", "commit", "python")},
        "facts": device,
        "stages": {},
    }
    for stage in STAGES:
        if stage not in check["stages"]:
            continue
        facts = {k: v for k, v in check["stages"][stage].items() if k not in LEFT_OUT}
        content = record.read(folder / file_of(stage))
        if content is not None:
            facts["planned"] = content["planned"]
            facts["rows"] = [_short(row) for row in content["rows"]]
        merged["stages"][stage] = facts
    return merged


def _short(row: dict[str, Any]) -> dict[str, Any]:
    tests = row.get(TEST_NAMES)
    return row | {TEST_NAMES: len(tests)} if isinstance(tests, list) else row


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.collect", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument(
        "--commit",
        metavar="REV",
        help="what was measured, where DIR was no checkout's and cannot say",
    )
    options = parser.parse_args(argv)
    try:
        merged = merge(options.folder)
        merged["commit"] = merged["commit"] or options.commit
        if merged["commit"] is None:
            raise ValueError(f"{options.folder}: does not say of which commit it is; give --commit")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    target = options.results / f"{slug(merged['device'])}.json"
    record.write(target, merged)
    page = target.with_suffix(".md")
    page.write_text(report(merged, record.read(options.results / PREDICTIONS)))
    print(f"{target}\n{page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
