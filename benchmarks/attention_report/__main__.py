"""``python -m benchmarks.attention_report``: what the attention's launchers launch, what it was
compiled to and what it costs the host, as a table in Markdown; no GPU is needed.

The exit status is 1 where a kernel that was printed uses local memory, or needs more shared memory
than a block of the architecture has.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import triton

from . import tiles
from .calls import DTYPES, LAYOUTS, SHAPES, cases
from .driver import FAMILIES
from .report import CALL_COLUMNS, KERNEL_COLUMNS, KernelRow, distinct, rows


def head(columns: dict[str, Callable[[Any], object]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns)))


def line(columns: dict[str, Callable[[Any], object]], row: object) -> str:
    cells = (function(row) for function in columns.values())
    words = {True: "yes", False: "no"}
    texts = (words[cell] if isinstance(cell, bool) else str(cell) for cell in cells)
    return f"| {' | '.join(texts)} |"


def print_kernels(kernels: Iterable[KernelRow]) -> bool:
    """Whether all of them fit."""
    print(head(KERNEL_COLUMNS))
    fit = True
    for kernel in kernels:
        print(line(KERNEL_COLUMNS, kernel), flush=True)
        fit = fit and not kernel.complaint
    return fit


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attention_report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arch", type=int, nargs="+", choices=FAMILIES, help="default: 90")
    parser.add_argument("--dtype", nargs="+", choices=list(DTYPES), help="default: bf16")
    parser.add_argument("--layout", nargs="+", default=list(LAYOUTS), choices=LAYOUTS)
    parser.add_argument("--n", type=int, nargs="+", help="only shapes with these N")
    parser.add_argument("--no-time", action="store_true", help="leave the host's time out")
    parser.add_argument("--kernels", action="store_true", help="a second table, of the kernels")
    parser.add_argument(
        "--table",
        action="store_true",
        help="instead, the kernels of every row of the table of tiles, by default for every "
        "architecture and type",
    )
    options = parser.parse_args(argv)
    print(f"triton {triton.__version__}, torch {torch.__version__}\n")
    if options.table:
        calls = tiles.cases(options.arch or FAMILIES, options.dtype or DTYPES, options.layout)
        return int(not print_kernels(distinct(calls)))
    shapes = [shape for shape in SHAPES if options.n is None or shape[1] in options.n]
    print(head(CALL_COLUMNS))
    kernels = []
    wanted = cases(options.arch or [90], options.dtype or ["bf16"], options.layout, shapes)
    for row in rows(wanted, timed=not options.no_time):
        print(line(CALL_COLUMNS, row), flush=True)
        kernels += row.kernels
    if options.kernels:
        print()
        print_kernels(kernels)
    return int(any(kernel.complaint for kernel in kernels))


if __name__ == "__main__":
    sys.exit(main())
