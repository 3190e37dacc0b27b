"""``python -m benchmarks.kernel_report``: registers, memory, occupancy and instructions of every
CUDA kernel, read from the built library.

One row for each kernel, feature type and index width; where the architectures differ, a figure for
each in their order. The exit status is 1 where a kernel exceeds its budget.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from . import budgets
from .kernels import Kernel
from .library import ARCHITECTURES, LIBRARY, CannotReport, read

COLUMNS: dict[str, Callable[[Kernel], str]] = {
    "kernel": lambda kernel: kernel.name,
    "type": lambda kernel: kernel.feature_type,
    "index": lambda kernel: str(kernel.index_bits or ""),
    "registers": lambda kernel: str(kernel.registers),
    "stack": lambda kernel: str(kernel.stack_bytes),
    "spills": lambda kernel: str(kernel.spills),
    "LDL+STL": lambda kernel: str(kernel.local_loads + kernel.local_stores),
    "shared": lambda kernel: str(kernel.shared_bytes),
    "blocks": lambda kernel: str(kernel.occupancy.blocks),
    "occupancy": lambda kernel: f"{kernel.occupancy.share:.0%}",
    "loads": lambda kernel: ", ".join(map(str, kernel.loads)),
    "stores": lambda kernel: ", ".join(map(str, kernel.stores)),
    "under way": lambda kernel: ", ".join(map(str, kernel.loop_loads)),
    "reductions": lambda kernel: ", ".join(kernel.reductions),
    "SHFL": lambda kernel: str(kernel.shuffles),
    "BAR": lambda kernel: str(kernel.barriers),
}


def merged(kernels: Sequence[Kernel]) -> list[list[str]]:
    """The table's cells; those of one kernel's architectures in one row."""

    def identity(kernel: Kernel) -> tuple[str, str, int]:
        return kernel.name, kernel.feature_type, kernel.index_bits

    rows = []
    for _, group in groupby(sorted(kernels, key=identity), key=identity):
        same = sorted(group, key=lambda kernel: kernel.architecture)
        row = []
        for cell in COLUMNS.values():
            cells = [cell(kernel) or "-" for kernel in same]
            row.append(cells[0] if len(set(cells)) == 1 else " / ".join(cells))
        rows.append(row)
    return rows


def text(rows: list[list[str]]) -> str:
    lines = [list(COLUMNS), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(rows: list[list[str]]) -> str:
    lines = [list(COLUMNS), ["---"] * len(COLUMNS), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernel_report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arch", type=int, nargs="+", default=list(ARCHITECTURES), metavar="90")
    parser.add_argument(
        "--filter",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="show only kernels whose name, type and index have all of these, e.g. window bf16",
    )
    parser.add_argument("--library", type=Path, default=LIBRARY)
    parser.add_argument("--budgets", type=Path, default=budgets.DEFAULT, help="the budget file")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="also write the table there")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write everything there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    start = time.perf_counter()
    try:
        kernels = read(options.library, options.arch)
    except CannotReport as error:
        print(error, file=sys.stderr)
        return 2
    shown = [each for each in kernels if all(text in each.title for text in options.filter)]
    if not shown:
        print(f"--filter: no kernel has all of {options.filter}", file=sys.stderr)
        return 2
    rows = merged(shown)
    print(text(rows))
    if options.markdown:
        options.markdown.write_text(markdown(rows))
    if options.json:
        options.json.write_text(json.dumps([each.facts() for each in shown], indent=1) + "\n")
    exceeded = budgets.violations(kernels, budgets.load(options.budgets))
    names = ", ".join(f"sm_{number}" for number in options.arch)
    print(
        f"\n{len(kernels)} kernels for {names}, read in {time.perf_counter() - start:.0f} s; "
        f"{len(exceeded)} budgets exceeded"
    )
    for line in exceeded:
        print(line)
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
