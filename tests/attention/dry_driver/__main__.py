"""``python -m tests.attention.dry_driver``: what the attention's launchers launch, what it was
compiled to and what it costs the host, as two tables in Markdown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton

from .calls import DTYPES, LAYOUTS, SHAPES, cases
from .driver import FAMILIES
from .report import CALL_COLUMNS, KERNEL_COLUMNS, rows


def head(columns: dict[str, Callable[[Any], object]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns)))


def line(columns: dict[str, Callable[[Any], object]], row: object) -> str:
    cells = (function(row) for function in columns.values())
    words = {True: "yes", False: "no"}
    texts = (words[cell] if isinstance(cell, bool) else str(cell) for cell in cells)
    return f"| {' | '.join(texts)} |"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.attention.dry_driver",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arch", type=int, nargs="+", default=[90], choices=FAMILIES)
    parser.add_argument("--dtype", nargs="+", default=["bf16"], choices=list(DTYPES))
    parser.add_argument("--layout", nargs="+", default=list(LAYOUTS), choices=LAYOUTS)
    parser.add_argument("--n", type=int, nargs="+", help="only shapes with these N")
    parser.add_argument("--no-time", action="store_true", help="leave the host's time out")
    parser.add_argument("--kernels", action="store_true", help="a second table, of the kernels")
    options = parser.parse_args(argv)
    shapes = [shape for shape in SHAPES if options.n is None or shape[1] in options.n]
    print(f"triton {triton.__version__}, torch {torch.__version__}\n\n{head(CALL_COLUMNS)}")
    kernels = []
    wanted = cases(options.arch, options.dtype, options.layout, shapes)
    for row in rows(wanted, timed=not options.no_time):
        print(line(CALL_COLUMNS, row), flush=True)
        kernels += row.kernels
    if options.kernels:
        print(f"\n{head(KERNEL_COLUMNS)}")
        for kernel in kernels:
            print(line(KERNEL_COLUMNS, kernel))
    return 0


if __name__ == "__main__":
    sys.exit(main())
