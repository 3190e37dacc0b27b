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

from .common.tables import table
from .compiled import rules
from .compiled.kernels import Kernel
from .compiled.library import ARCHITECTURES, LIBRARY, CannotReport, read

COLUMNS: dict[str, Callable[[Kernel], object]] = {
    "kernel": lambda kernel: kernel.name,
    "type": lambda kernel: kernel.feature_type,
    "index": lambda kernel: kernel.index_bits or "",
    "registers": lambda kernel: kernel.registers,
    "stack": lambda kernel: kernel.stack_bytes,
    "spills": lambda kernel: kernel.spills,
    "LDL+STL": lambda kernel: kernel.local_accesses,
    "shared": lambda kernel: kernel.shared_bytes,
    "blocks": lambda kernel: kernel.occupancy.blocks,
    "occupancy": lambda kernel: f"{kernel.occupancy.share:.0%}",
    "loads": lambda kernel: ", ".join(map(str, kernel.loads)),
    "stores": lambda kernel: ", ".join(map(str, kernel.stores)),
    "under way": lambda kernel: ", ".join(map(str, kernel.loop_loads)),
    "reductions": lambda kernel: ", ".join(kernel.reductions),
    "SHFL": lambda kernel: kernel.count("SHFL"),
    "BAR": lambda kernel: kernel.count("BAR"),
}


def merged(kernels: Sequence[Kernel]) -> str:
    """The table in Markdown; a kernel's architectures are in one row."""

    def identity(kernel: Kernel) -> tuple[str, str, int]:
        return kernel.name, kernel.feature_type, kernel.index_bits

    rows = []
    for _, group in groupby(sorted(kernels, key=identity), key=identity):
        same = sorted(group, key=lambda kernel: kernel.architecture)
        columns = ([str(cell(kernel)) or "-" for kernel in same] for cell in COLUMNS.values())
        rows.append([c[0] if len(set(c)) == 1 else " / ".join(c) for c in columns])
    return table(list(COLUMNS), rows, len(COLUMNS))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernel_report", description=__doc__)
    parser.add_argument("--arch", type=int, nargs="+", default=list(ARCHITECTURES), metavar="90")
    parser.add_argument(
        "--filter",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="show only kernels whose name, type and index have all of these, e.g. window bf16",
    )
    parser.add_argument("--library", type=Path, default=LIBRARY)
    parser.add_argument("--budgets", type=Path, default=rules.DEFAULT, help="file or folder")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write everything there")
    options = parser.parse_args(argv)
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
    print(merged(shown))
    if options.json:
        options.json.write_text(json.dumps([each.facts() for each in shown], indent=1) + "\n")
    exceeded = rules.violations(kernels, rules.load(options.budgets))
    names = ", ".join(f"sm_{number}" for number in options.arch)
    print(
        f"\n{len(kernels)} kernels for {names}, read in {time.perf_counter() - start:.0f} s; "
        f"{len(exceeded)} budgets exceeded"
    )
    print(*exceeded, sep="\n")
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
