"""``python -m benchmarks.gpu.smoke``: every op, way, type, layout and direction once on small maps
with tails, against the definition in float64: one line a case.

Each group has a process of its own, several at a time: Triton's kernels are compiled meanwhile,
and a kernel that breaks the process's device takes no other group with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from ..ops.case import DETERMINISTIC, OURS, Case, Function, arguments
from ..ops.cases import FAMILIES
from ..ops.gate import Definition, evaluate
from ..ops.results import WRONG
from .check import die_with_parent
from .measure import first_line, on_cuda, parser
from .record import OK, Record


def every_case() -> Iterator[Case]:
    for family in FAMILIES.values():
        yield from family.smoke()


def ops() -> list[str]:
    return list(dict.fromkeys(case.op for case in every_case()))


def _group(case: Case, device: str) -> str:
    """What one process does: where kernels are compiled first, an op's types are apart."""
    return f"{case.op} {case.dtype_name}" if on_cuda(device) else case.op


def ways(case: Case, device: str) -> dict[str, Function]:
    op = case.operation
    return {OURS: op.implementations[OURS], **(op.paths(case) if on_cuda(device) else {})}


def names(device: str) -> Iterator[tuple[str, Case, str, str]]:
    """The name, case, way and mode of every line."""
    for case in every_case():
        for way in ways(case, device):
            for mode in case.modes:
                yield f"{case.name} | {way} | {mode}", case, way, mode


def judge(case: Case, way: str, device: str) -> dict[str, object]:
    drawn = arguments(case, device)
    results = evaluate(ways(case, device)[way], drawn, case.direction != "forward")
    verdict = Definition(case, drawn).judge(results, ours=True)
    return {
        "status": WRONG if verdict.wrong else OK,
        "note": str(verdict),
        "errors": verdict.errors,
        "allowed": verdict.allowed,
    }


def run_group(group: str, device: str, leave_out: Sequence[str], bare: bool) -> int:
    """One line of JSON a case. ``bare``: runs them and compares nothing, for a sanitizer."""
    status = 0
    for name, case, way, mode in names(device):
        if group not in (case.op, _group(case, device)) or name in leave_out:
            continue
        torch.use_deterministic_algorithms(mode == DETERMINISTIC, warn_only=True)
        try:
            if bare:
                drawn = arguments(case, device)
                evaluate(ways(case, device)[way], drawn, case.direction != "forward")
                facts: dict[str, object] = {"status": OK}
            else:
                facts = judge(case, way, device)
        except Exception as problem:
            facts = {"status": f"failed: {first_line(problem)}"}
        status |= facts["status"] != OK
        print(json.dumps({"name": name, **facts}), flush=True)
    if on_cuda(device):
        torch.cuda.synchronize()
    return int(status)


def run_all(device: str, record: Record) -> None:
    planned = {name: _group(case, device) for name, case, _, _ in names(device)}
    lock = threading.Lock()

    def work(group: str) -> None:
        done = [name for name in planned if record.ended_well(name)]
        left = [name for name, its in planned.items() if its == group and name not in done]
        if not left:
            return
        command = [sys.executable, "-m", "benchmarks.gpu.smoke", "--device", device]
        command += ["--group", group, "--leave-out", *done]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("{"):
                print(line, end="")
                continue
            row = json.loads(line)
            left.remove(row["name"])
            with lock:
                record.add(**row)
            print(f"{row['status']}: {row['name']} {row.get('note', '')}".rstrip(), flush=True)
        status = process.wait()
        for name in left:
            with lock:
                record.add(name, f"failed: its process ended with {status} before it")

    workers = min(8, max(1, (os.cpu_count() or 1) // 2))
    with ThreadPoolExecutor(workers) as pool:
        for each in [pool.submit(work, group) for group in dict.fromkeys(planned.values())]:
            each.result()


def main(argv: Sequence[str] | None = None) -> int:
    made = parser("smoke", __doc__, required=False)
    made.add_argument("--group", metavar="GROUP", help="only this op's, here")
    made.add_argument("--leave-out", nargs="*", default=[], metavar="NAME")
    made.add_argument("--bare", action="store_true", help="compare nothing")
    options = made.parse_args(argv)
    if options.group is not None:
        die_with_parent()
        return run_group(options.group, options.device, options.leave_out, options.bare)
    if options.json is None:
        made.error("expected --json or --group")
    planned = [name for name, *_ in names(options.device)]
    record = Record(options.json, planned)
    run_all(options.device, record)
    return int(not record.all_ended_well)


if __name__ == "__main__":
    sys.exit(main())
