"""``python -m benchmarks.gpu.key``: the rows by which each family is judged on a GPU: every
implementation as it is called and under a CUDA graph, kernel by kernel for the first ones, and
the floor that a copy or a matrix product of this device sets. One row a case and mode."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch._functorch import config as functorch_config

from ..common import timing, yardstick
from ..ops.case import DEFAULT, DETERMINISTIC, OURS, Arguments, Case, Function, arguments, prepare
from ..ops.cases import FAMILIES
from ..ops.cost import cost
from ..ops.gate import Definition, evaluate
from ..ops.results import WRONG
from .measure import call_seconds, first_line, graph_seconds, kernel_seconds, on_cuda, parser, work
from .record import OK, Record

RATES = "rates"


class Chosen(NamedTuple):
    case: Case
    mode: str
    profiled: bool  # whether its kernels are looked at


def rows(device: str) -> dict[str, Chosen]:
    """By name. Every family's headlines come first. A rehearsal takes the same ways with few
    numbers."""
    ranked: list[tuple[bool, Chosen]] = []
    for family in FAMILIES.values():
        for number, problem in enumerate(family.problems()):
            for case in problem:
                taken = case if on_cuda(device) else case.small
                profiled, later = number < family.profiled, number >= family.headline
                ranked += [(later, Chosen(taken, mode, profiled)) for mode in case.modes]
    ordered = sorted(ranked, key=lambda each: each[0])
    return {row_name(each.case, each.mode): each for _, each in ordered}


def row_name(case: Case, mode: str) -> str:
    return case.name if mode == DEFAULT else f"{case.name} {mode}"


def implementations(case: Case, mode: str) -> dict[str, Function]:
    """What is compared; a compiled peer would be compiled first, for longer than all else takes."""
    op = case.operation
    if mode == DETERMINISTIC:
        return {OURS: op.implementations[OURS]}
    peers = {name: each.function for name, each in op.peers(case).items() if not each.compiled}
    return {**op.implementations, **peers}


def measured(
    chosen: Chosen, device: str, drawn: Arguments, definition: Definition
) -> dict[str, dict[str, Any]]:
    """By implementation. What is wrong is timed as well, since a device is met for minutes; it is
    marked, and nothing is compared with it."""
    case = chosen.case
    found: dict[str, dict[str, Any]] = {}
    for name, function in implementations(case, chosen.mode).items():
        facts = found.setdefault(name, {"status": OK})
        try:
            results = evaluate(function, drawn, case.direction != "forward")
            verdict = definition.judge(results, name == OURS)
            facts["errors"] = verdict.errors
            if verdict.wrong:
                facts |= {"status": WRONG, "note": str(verdict)}
            call = prepare(function, drawn, case.direction)
            facts["call"] = call_seconds(call, device)
            kernels = kernel_seconds(call, device) if chosen.profiled else None
            if kernels is not None:
                facts["kernels"] = sum(each["seconds"] for each in kernels.values())
                facts["launches"] = sum(each["launches"] for each in kernels.values())
                facts["by_kernel"] = kernels
            # A backward runs on its forward's stream, which a capture elsewhere refuses.
            if case.direction == "forward":
                facts["graph"] = graph_seconds(call, device)
        except Exception as problem:
            facts |= {"status": f"failed: {first_line(problem)}"}
    return found


def rates(device: str) -> dict[str, Any]:
    """What the device itself shows to be possible: of which a floor is made."""
    dtypes = (torch.float32, torch.bfloat16) if on_cuda(device) else (torch.float32,)
    products = {
        str(dtype).removeprefix("torch."): timing.matrix_product_rate(dtype, device, 1)
        for dtype in dtypes
    }
    return {"copy_bytes": yardstick.copy_rate(device, 1), "products_flops": products}


def main(argv: Sequence[str] | None = None) -> int:
    options = parser("key", __doc__).parse_args(argv)
    device = options.device
    chosen: dict[str, Chosen | None] = {RATES: None, **rows(device)}
    record = Record(options.json, chosen)
    # Cases of the same numbers follow each other.
    drawn_for = functools.lru_cache(1)(lambda case: arguments(case, device))
    definition_of = functools.lru_cache(1)(lambda case: Definition(case, arguments(case, device)))

    def measure(each: Chosen | None) -> dict[str, Any]:
        if each is None:
            return rates(device)
        case, mode, _ = each
        torch.use_deterministic_algorithms(mode == DETERMINISTIC, warn_only=True)
        drawn = drawn_for(replace(case, direction="forward"))
        with functorch_config.patch(donated_buffer=False):
            found = measured(each, device, drawn, definition_of(case.data))
        least, known = cost(case), record.row(RATES) or {}
        floor = least.bytes / known["copy_bytes"]
        if rate := known["products_flops"].get(case.dtype_name):
            floor = max(floor, least.flops / rate)
        # Peers say in their own rows what became of them.
        return {
            "status": found[OURS]["status"], "op": case.op, "problem": case.title,
            "layout": case.layout, "direction": case.direction, "mode": mode,
            "bytes": least.bytes, "flops": least.flops, "floor": floor, "rows": found,
        }  # fmt: skip

    return work(record, chosen, measure)


if __name__ == "__main__":
    sys.exit(main())
