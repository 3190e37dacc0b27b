"""``python -m benchmarks.gpu.profile``: Nsight Compute on the main cases' kernels: bandwidth,
occupancy, reductions. With ``--target`` it is the program that Nsight Compute watches."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch

from ..ops.case import DEFAULT, OURS, Case, arguments, prepare
from .check import die_with_parent
from .key import rows
from .measure import on_cuda, parser, work
from .record import Record

METRICS = {
    "gpu__time_duration.sum": "nanoseconds",
    "dram__bytes.sum.per_second": "dram_bytes_per_second",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "dram_percent",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy_percent",
    "lts__t_requests_op_red.sum": "reduction_requests",
    "lts__t_sectors_op_red.sum": "reduction_sectors",
    "smsp__sass_average_data_bytes_per_sector_mem_global_op_ld.pct": "load_efficiency_percent",
}
MARKER = "cos_kernel"  # of torch: launched before each case, and by none of them


def groups(device: str) -> dict[str, list[Case]]:
    """The cases whose kernels are looked at, by what one run of Nsight Compute watches: a run
    takes seconds to start, and what it found is lost where it is cut off."""
    found: dict[str, list[Case]] = {}
    for case, mode, profiled in rows(device).values():
        if profiled and mode == DEFAULT:
            found.setdefault(f"{case.op} {case.dtype_name}", []).append(case)
    return found


def target(group: str, device: str) -> None:
    """Every case once, to be watched, after another time that compiles."""
    for case in groups(device)[group]:
        function = case.operation.implementations[OURS]
        call = prepare(function, arguments(case, device), case.direction)
        call()
        if not on_cuda(device):
            continue
        marker = torch.ones(1, device=device)
        torch.cuda.synchronize()
        torch.cuda.profiler.start()
        marker.cos_()
        call()
        torch.cuda.synchronize()
        torch.cuda.profiler.stop()


def parse(text: str, cases: Sequence[str]) -> list[dict[str, object]]:
    """Kernels from Nsight Compute's CSV in its raw page, each with its case; whatever it says
    before is left out.

    Raises:
        ValueError: the table is of another number of cases.
    """
    lines = [line for line in text.splitlines() if line.startswith('"')]
    rows, number = [], -1
    for row in csv.DictReader(io.StringIO("\n".join(lines))):
        if not row.get("Kernel Name") or not row.get("ID", "").isdigit():
            continue  # the line of units
        if MARKER in row["Kernel Name"]:
            number += 1
            continue
        name = row["Kernel Name"].split("(")[0].split("<")[0].removeprefix("void ")
        case = cases[number] if 0 <= number < len(cases) else ""
        found: dict[str, object] = {"case": case, "kernel": name}
        for metric, short in METRICS.items():
            value = (row.get(metric) or "").replace(",", "")
            found[short] = float(value) if value not in ("", "n/a") else None
        rows.append(found)
    if number + 1 != len(cases):
        raise ValueError(f"expected kernels of {len(cases)} cases, got {number + 1}")
    return rows


def run(command: Sequence[str]) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=die_with_parent)
    return done.returncode, done.stdout, done.stderr


def watched(group: str, cases: Sequence[str]) -> dict[str, Any]:
    """The group's kernels, and the names of counters that this Nsight Compute does not know: it
    refuses them all for one, so that they are left out and it is asked again.

    Raises:
        RuntimeError: it fails for another reason.
    """
    wanted, refused = list(METRICS), []
    while True:
        # The clocks stay as they are: the machine may be another's, too.
        command = ["ncu", "--profile-from-start", "off", "--clock-control", "none"]
        command += ["--csv", "--page", "raw", "--print-units", "base"]
        command += ["--metrics", ",".join(wanted), sys.executable, "-m", "benchmarks.gpu.profile"]
        status, output, errors = run([*command, "--target", group])
        try:
            if status == 0:
                return {"kernels": parse(output, cases), "refused": refused}
            said = f"exit status {status}"
        except ValueError as problem:
            said = str(problem)
        complaints = [
            line for line in (output + errors).splitlines()
            if line.startswith(("==ERROR==", "==WARNING=="))
        ]  # fmt: skip
        unknown = [each for each in wanted if any(each in line for line in complaints)]
        if not unknown:
            raise RuntimeError(f"{said}: {' '.join(complaints)[-500:]}")
        refused += unknown
        wanted = [each for each in wanted if each not in unknown]
        if not wanted:
            raise RuntimeError("it knows none of the counters")


def main(argv: Sequence[str] | None = None) -> int:
    made = parser("profile", __doc__, required=False)
    made.add_argument("--target", metavar="GROUP", help="run its kernels and nothing else")
    options = made.parse_args(argv)
    device = options.device
    if options.target is not None:
        target(options.target, device)
        return 0
    if options.json is None:
        made.error("expected --json or --target")
    planned = {group: (group, cases) for group, cases in groups(device).items()}
    record = Record(options.json, planned)
    if on_cuda(device) and shutil.which("ncu") is None:
        print("ncu: not on PATH")
        return 1

    def measure(item: tuple[str, list[Case]]) -> dict[str, Any]:
        group, cases = item
        if on_cuda(device):
            return watched(group, [case.name for case in cases])
        target(group, device)
        return {"kernels": [], "refused": []}

    return work(record, planned, measure)


if __name__ == "__main__":
    sys.exit(main())
