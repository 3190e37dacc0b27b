"""``python -m benchmarks.attention_report``: registers, spills and shared memory of the attention's
Triton kernels, compiled for every architecture and every row of the table, without a GPU.

Needs triton alone, so that any version of it can be asked. The exit status is 1 where a kernel
spills, or needs more shared memory than a block of the architecture has.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1] / "scrn_ops" / "attention"
# Bytes of shared memory that a block may have, and the largest number of registers of a thread.
SHARED = {80: 163 << 10, 90: 227 << 10, 100: 227 << 10, 120: 99 << 10}
WIDEST = 1024  # channels to compile for where a row has no end
LAYOUTS = ("contiguous", "channel_major")


def module(name: str) -> ModuleType:
    """A module of the attention's kernels, or its table, without importing torch."""
    root = "_attention_of_the_report"
    if root not in sys.modules:
        package = ModuleType(root)
        package.__path__ = [str(PACKAGE)]
        sys.modules[root] = package
    return importlib.import_module(f"{root}.{name}")


@dataclass(frozen=True)
class Variant:
    """One kernel with the constants and launch options of one row of the table."""

    kernel: str  # the module and the function
    row: str
    family: int
    feature: str  # type of the operands
    constants: tuple[tuple[str, Any], ...]
    warps: int
    stages: int


@dataclass(frozen=True)
class Usage:
    registers: int
    stack: int  # bytes per thread: spills, and arrays that are indexed at run time
    shared: int


FEATURES = {True: "bf16", False: "fp32"}
FLOATS = {
    "parts", "weights", "shared", "total", "log_sum_exp", "delta", "references", "sums", "before",
    "part_log_sum_exp",
}  # fmt: skip
FEATURE_POINTERS = {
    "query", "key", "value", "out", "output", "grad", "x", "a", "b", "tiles_of_p", "probabilities",
    "slopes", "unary",
}  # fmt: skip
# Strides and sizes that are multiples of 16 in any model; those of rows and images.
DIVISIBLE = {"width", "channels", "out_channels", "columns_out", "split_keys"}


def variants(family: int, layout: str) -> Iterator[Variant]:
    """Every row of the table of an architecture, and the kernels that have no table."""
    table = module("table")
    dense = "c" if layout == "contiguous" else "m"

    def variant(kernel: str, row: str, half: bool, tiles: Any = None, **constants: Any) -> Variant:
        if tiles is not None:
            constants |= {"BLOCK_N": tiles.n, "BLOCK_M": tiles.m, "PRECISION": precision}
            row += f", {precision}" if not half else ""
        warps, stages = (4, 3) if tiles is None else (tiles.warps, tiles.stages)
        constants |= unit_strides(kernel, dense)
        feature = FEATURES[half]
        return Variant(kernel, row, family, feature, tuple(constants.items()), warps, stages)

    for half, precision in ((True, "ieee"), (False, "ieee"), (False, "tf32")):
        previous = 16
        for row in table.rows("flash", half, family):
            t = row.tiles
            for split in (False, True):
                for width in {min(2 * previous, row.width), row.width}:
                    name = f"Dk {width}, tiles {t.n}x{t.m}x{t.k}" + (", split" if split else "")
                    options = {"WIDTH": width, "SPLIT": split, "BLOCK_C": t.k}
                    yield variant("flash.flash", name, half, t, **options)
            previous = row.width
        for kernel, name in (
            ("split_softmax.exponentials", "exponentials"),
            ("split_softmax.weighted_values", "weighted_values"),
            ("gradients.score_gradients", "score_gradients"),
            ("gradients.product", "product"),
        ):
            for row in table.rows(name, half, family):
                t = row.tiles
                label = f"tiles {t.n}x{t.m}x{t.k}"
                if name == "weighted_values":
                    first = table.tiles("exponentials", 256, WIDEST, 2 if half else 4, family)
                    yield variant(kernel, label, half, t, BLOCK_C=t.k, TILE=first.m)
                elif name == "product":
                    for operand in ("rows", "columns"):
                        options = {"CONTINUED": True, "RANK_ONE": True, "BLOCK_K": t.k}
                        options["a_stride_depth" if operand == "rows" else "a_stride_row"] = 1
                        yield variant(kernel, f"{label}, a by {operand}", half, t, **options)
                else:
                    yield variant(kernel, label, half, t, BLOCK_K=t.k)
        if precision == "tf32":
            return
        yield variant("columns.column_sums", "64x64", half, WEIGHTED=True, BLOCK_N=64, BLOCK_C=64)
        yield variant("columns.add_parts", "64", half, BLOCK_C=64)
        yield variant("columns.whiten", "64x64", half, BLOCK_N=64, BLOCK_C=64)
        yield variant("flash.merge", "32x64", half, BLOCK_N=32, BLOCK_C=64)
        yield variant("gradients.row_products", "64x64", half, BLOCK_N=64, BLOCK_C=64)
        yield variant("unary.unary_gradient", "64x64", half, BLOCK_M=64, BLOCK_C=64)
        yield replace(variant("unary.softmax_rows", "4096", half, BLOCK=4096), warps=8)


def unit_strides(kernel: str, dense: str) -> dict[str, int]:
    """Triton makes constants of strides of 1. ``dense`` is "c" or "m", the axis of values."""
    names = {
        "flash.flash": ("value_stride_{v}", "out_stride_{o}"),
        "flash.merge": ("out_stride_{o}",),
        "split_softmax.weighted_values": ("value_stride_{v}", "out_stride_{o}"),
        "gradients.row_products": ("grad_stride_{o}", "out_stride_{o}"),
        "gradients.score_gradients": ("value_stride_{v}", "grad_stride_{o}"),
        "gradients.product": ("b_stride_column", "out_stride_column"),
        "columns.column_sums": ("stride_{o}",),
        "columns.whiten": ("stride_{o}", "out_stride_c"),
        "unary.unary_gradient": ("stride_{v}",),
        "unary.softmax_rows": ("stride_m",),
    }.get(kernel, ())
    other = {"c": "c", "m": "n"}[dense]
    return {name.format(v=dense, o=other): 1 for name in names}


def signature(kernel: Any, variant: Variant) -> tuple[dict[str, str], dict[tuple[int], Any]]:
    constants = dict(variant.constants)
    in_float32 = constants.get("SPLIT") or variant.kernel == "columns.add_parts"
    partials = {"out"} if in_float32 else set()
    types, attributes = {}, {}
    for index, name in enumerate(kernel.arg_names):
        divisible = True
        if name in constants:
            types[name] = "constexpr"
            continue
        if name in FLOATS or name in partials:
            types[name] = "*fp32"
        elif name in FEATURE_POINTERS:
            types[name] = f"*{variant.feature}"
        elif name == "factor":
            types[name] = "fp32"
            divisible = False
        else:
            types[name] = "i32"
            divisible = name in DIVISIBLE or "_stride_" in name or name.startswith("stride_")
        if divisible:
            attributes[(index,)] = [["tt.divisibility", 16]]
    return types, attributes


def resources(cubin: bytes) -> tuple[int, int]:
    """Registers of a thread, and bytes of its stack."""
    import triton

    tool = triton.knobs.nvidia.cuobjdump.path
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [tool, "-res-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack = (int(re.search(rf"{key}:(\d+)", text)[1]) for key in ("REG", "STACK"))
    return registers, stack


def compiled(variant: Variant) -> tuple[Variant, Usage]:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    file, function = variant.kernel.split(".")
    kernel = getattr(module(f"kernels.{file}"), function)
    types, attributes = signature(kernel, variant)
    source = ASTSource(kernel, types, constexprs=dict(variant.constants), attrs=attributes)
    options = {"num_warps": variant.warps, "num_stages": variant.stages}
    result = triton.compile(source, target=GPUTarget("cuda", variant.family, 32), options=options)
    registers, stack = resources(result.asm["cubin"])
    return variant, Usage(registers, stack, result.metadata.shared)


def complaint(variant: Variant, usage: Usage) -> str:
    """What is wrong with a row, or nothing."""
    if usage.stack:
        return f"{usage.stack} bytes of local memory"
    limit = SHARED[variant.family]
    return f"shared memory beyond {limit}" if usage.shared > limit else ""


def report(
    families: Sequence[int], layouts: Sequence[str], jobs: int, text: str = ""
) -> Iterator[tuple[Variant, Usage]]:
    wanted = [v for family in families for layout in layouts for v in variants(family, layout)]
    wanted = [v for v in dict.fromkeys(wanted) if text in f"{v.kernel} {v.feature} {v.row}"]
    with get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(partial(compiled), wanted)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attention_report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arch", type=int, nargs="+", default=list(SHARED), choices=list(SHARED))
    parser.add_argument("--layout", nargs="+", default=list(LAYOUTS), choices=LAYOUTS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--filter", default="", metavar="TEXT", help="rows that have it")
    options = parser.parse_args(argv)
    import triton

    print(f"triton {triton.__version__}")
    header = f"{'kernel':<30} {'arch':>4} {'type':<5} {'tiles':<34}"
    print(f"{header} {'warps':>5} {'stages':>6} {'registers':>9} {'stack':>5} {'shared':>7}")
    bad = 0
    for variant, usage in report(options.arch, options.layout, options.jobs, options.filter):
        wrong = complaint(variant, usage)
        bad += bool(wrong)
        strides = "".join(
            f" {name}=1" for name, value in variant.constants if name == "value_stride_m"
        )
        cells = f"{variant.kernel:<30} {variant.family:>4} {variant.feature:<5} "
        cells += f"{variant.row + strides:<34} {variant.warps:>5} {variant.stages:>6} "
        cells += f"{usage.registers:>9} {usage.stack:>5} {usage.shared:>7}"
        print(f"{cells}  {wrong}".rstrip(), flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
