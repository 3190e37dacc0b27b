"""``python -m benchmarks.gpu.key``: the rows by which each family is judged on a GPU: every
implementation as it is called and under a CUDA graph, kernel by kernel for the first ones, and
the floor that a copy or a matrix product of this device sets. One row a case and mode."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch._functorch import config as functorch_config

from .. import peers, timing
from ..cases import DEFAULT, DETERMINISTIC, FAMILIES, AnyCase
from ..cost import cost
from ..gate import Definition, evaluate
from ..ops import BASELINE, OPS, OURS, Arguments, Function, arguments
from ..runner import prepare
from .measure import (
    call_seconds,
    copy_rate,
    first_line,
    graph_seconds,
    kernel_seconds,
    on_cuda,
)
from .record import OK, Record

WRONG = "wrong"
RATES = "rates"


def rows(device: str) -> dict[str, tuple[AnyCase, str, bool]]:
    """Case, mode, and whether its kernels are looked at, by name. Every family's headlines come
    first. A rehearsal takes the same ways with few numbers."""
    chosen: dict[str, tuple[AnyCase, str, bool]] = {}
    for headlines in (True, False):
        for family in FAMILIES.values():
            problems: dict[object, None] = {}
            for case in family.key():
                problems[case.data, case.layout] = None
                if (len(problems) <= family.headline) != headlines:
                    continue
                taken = case if on_cuda(device) else case.small
                for mode in case.modes:
                    profiled = len(problems) <= family.profiled
                    chosen[row_name(taken, mode)] = taken, mode, profiled
    return chosen


def row_name(case: AnyCase, mode: str) -> str:
    return case.name if mode == DEFAULT else f"{case.name} {mode}"


def implementations(case: AnyCase, mode: str) -> dict[str, Function]:
    """What is compared; FlexAttention would be compiled first, for longer than all else takes."""
    op = OPS[case.op]
    if mode == DETERMINISTIC:
        return {OURS: op.implementations[OURS]}
    others = {name: each for name, each in op.peers(case).items() if name != peers.FLEX}
    return {**op.implementations, **others}


def measured(
    case: AnyCase, mode: str, profiled: bool, device: str, drawn: Arguments, definition: Definition
) -> dict[str, dict[str, object]]:
    """By implementation. What is wrong is timed as well, since a device is met for minutes; it is
    marked, and nothing is compared with it."""
    found: dict[str, dict[str, object]] = {}
    for name, function in implementations(case, mode).items():
        facts = found.setdefault(name, {"status": OK})
        try:
            results = evaluate(function, drawn, case.direction != "forward")
            verdict = definition.judge(results, name == OURS)
            facts["errors"] = verdict.errors
            if verdict.wrong:
                facts |= {"status": WRONG, "note": str(verdict)}
            call = prepare(function, drawn, case.direction)
            facts["call"] = call_seconds(call, device)
            if profiled:
                kernels = kernel_seconds(call, device)
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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.key", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, required=True, metavar="PATH")
    options = parser.parse_args(argv)
    device = options.device
    chosen = rows(device)
    record = Record(options.json, "key", [RATES, *chosen])
    # What the device itself shows to be possible: of which a floor is made.
    if not record.ended_well(RATES):
        products = {
            str(dtype).removeprefix("torch."): timing.matrix_product_rate(dtype, device, 1)
            for dtype in ((torch.float32, torch.bfloat16) if on_cuda(device) else (torch.float32,))
        }
        record.add(RATES, OK, copy_bytes=copy_rate(device), products_flops=products)
    rates = record.row(RATES)
    assert rates is not None
    drawn_for: object = None
    defined_for: object = None
    for name, (case, mode, profiled) in chosen.items():
        if record.ended_well(name):
            continue
        torch.use_deterministic_algorithms(mode == DETERMINISTIC, warn_only=True)
        if drawn_for != (case.data, case.layout):
            drawn, drawn_for = arguments(case, device), (case.data, case.layout)
        if defined_for != case.data:
            definition, defined_for = Definition(case, drawn), case.data
        with functorch_config.patch(donated_buffer=False):
            found = measured(case, mode, profiled, device, drawn, definition)
        least, products = cost(case), rates["products_flops"]
        rate = products.get(str(case.dtype).removeprefix("torch."))
        floor = least.bytes / rates["copy_bytes"]
        # Peers say in their own rows what became of them.
        record.add(
            name, found[OURS]["status"], op=case.op, problem=case.title, layout=case.layout,
            direction=case.direction, mode=mode, bytes=least.bytes, flops=least.flops,
            floor=max(floor, least.flops / rate) if rate else floor, rows=found,
        )  # fmt: skip
        ours, eager = (found.get(each, {}).get("call") for each in (OURS, BASELINE))
        print(f"{found[OURS]['status']}: {name}: {ours} s, {BASELINE} {eager} s", flush=True)
    return int(not record.all_ended_well)


if __name__ == "__main__":
    sys.exit(main())
