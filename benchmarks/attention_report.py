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

from .common.tables import table
from .compiled.attention import tiles
from .compiled.attention.calls import DTYPES, LAYOUTS, SHAPES, cases
from .compiled.attention.driver import FAMILIES
from .compiled.attention.report import CALL_COLUMNS, KERNEL_COLUMNS, call_row, distinct


def text(columns: dict[str, Callable[[Any], object]], rows: Iterable[object]) -> str:
    words = {True: "yes", False: "no"}
    cells = ([function(row) for function in columns.values()] for row in rows)
    shown = ([words[c] if isinstance(c, bool) else c for c in row] for row in cells)
    return table(list(columns), shown)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attention_report", description=__doc__
    )
    parser.add_argument("--arch", type=int, nargs="+", choices=FAMILIES, help="default: 90")
    parser.add_argument("--dtype", nargs="+", choices=list(DTYPES), help="default: bf16")
    parser.add_argument("--layout", nargs="+", default=list(LAYOUTS), choices=LAYOUTS)
    parser.add_argument("--n", type=int, nargs="+", help="only shapes with these N")
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
        kernels = list(distinct(calls))
        print(text(KERNEL_COLUMNS, kernels))
        return int(any(kernel.complaint for kernel in kernels))
    shapes = [shape for shape in SHAPES if options.n is None or shape[1] in options.n]
    wanted = cases(options.arch or [90], options.dtype or ["bf16"], options.layout, shapes)
    rows = [call_row(case) for case in wanted]
    kernels = [kernel for row in rows for kernel in row.kernels]
    print(text(CALL_COLUMNS, rows))
    if options.kernels:
        print("", text(KERNEL_COLUMNS, kernels), sep="\n")
    return int(any(kernel.complaint for kernel in kernels))


if __name__ == "__main__":
    sys.exit(main())
