"""``python -m benchmarks.gpu.collect DIR``: merges what gpu_check.sh wrote to DIR into
benchmarks/results/<device>.json, and writes the report beside it."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import document, markdown, pictures
from ..environment import ROOT
from .stage import STAGES

RESULTS = ROOT / "benchmarks" / "results"


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def merge(folder: Path) -> dict[str, Any]:
    """The stages that are there, by name.

    Raises:
        ValueError: there is none, or they are of different devices.
    """
    stages = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in STAGES
        if (folder / f"{name}.json").is_file()
    }
    if not stages:
        raise ValueError(f"{folder}: expected {', '.join(STAGES)} as .json, found none of them")
    names = {(stage["device"] or {"name": "no CUDA device"})["name"] for stage in stages.values()}
    if len(names) > 1:
        raise ValueError(f"{folder}: expected results of one device, got {sorted(names)}")
    return {"device": names.pop(), "stages": stages}


def report(merged: dict[str, Any], folder: Path) -> str:
    """Markdown; pictures go to the folder."""
    lines = [f"# {merged['device']}", ""]
    lines += markdown.table(("stage", "status", "seconds", "budget"), list(_stages(merged)), 2)
    details = {name: stage["details"] for name, stage in merged["stages"].items()}
    for suite, tests in details.get("test", {}).get("tests", {}).items():
        counts = ", ".join(f"{tests[name]} {name}" for name in ("failures", "errors", "skipped"))
        lines += ["", f"{suite}: {tests['tests']} tests marked `cuda`: {counts}."]
        lines += [f"- {name}" for name in tests["failed"]]
        lines += [f"- skipped {n}: {reason}" for reason, n in tests["skip_reasons"].items()]
    micro = details.get("micro", {}).get("micro")
    if micro:
        rows = [
            (row["kind"], row["addresses"], f"{row['floats_per_second'] / 1e9:.1f}")
            for row in micro["rows"]
        ]
        lines += ["", "## Reductions", ""]
        lines += markdown.table(("kind", "addresses", "10^9 floats/s"), rows, 2)
    kernels = details.get("profile", {}).get("kernels")
    if kernels:
        rows = [
            (
                row["case"],
                row["implementation"],
                f"{row['launches']:g}",
                f"{1e6 * row['seconds']:.1f}",
                "" if row["bytes_per_second"] is None else f"{row['bytes_per_second'] / 1e9:.0f}",
            )
            for row in kernels
        ]
        head = ("case", "row", "launches", "us in kernels", "GB/s")
        lines += ["", "## Kernels", "", *markdown.table(head, rows, 2)]
    counters = details.get("profile", {}).get("counters")
    if counters:
        head = list(counters[0])
        rows = [tuple("" if v is None else str(v) for v in row.values()) for row in counters]
        lines += ["", "## Counters", "", *markdown.table(head, rows)]
    bench = details.get("bench", {})
    if "results" in bench:
        read = document.from_json(bench["results"])
        drawn = pictures.draw(read, folder)
        names = [f"{folder.name}/{path.name}" for path in drawn]
        lines += ["", markdown.report(read, names, [], bench.get("network"))]
    return "\n".join(lines).rstrip() + "\n"


def _stages(merged: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, stage in merged["stages"].items():
        yield name, stage["status"], f"{stage['seconds']:.0f}", str(stage["budget_seconds"])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.collect", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    options = parser.parse_args(argv)
    try:
        merged = merge(options.folder)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    name = slug(merged["device"])
    options.results.mkdir(parents=True, exist_ok=True)
    target = options.results / f"{name}.json"
    target.write_text(json.dumps(merged, indent=1) + "\n")
    page = options.results / f"{name}.md"
    page.write_text(report(merged, options.results / name))
    print(f"{target}\n{page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
