"""``python -m benchmarks.gpu.counters``: Nsight Compute on the main kernels: achieved bandwidth,
occupancy, reductions. With ``--target`` it is the program that Nsight Compute watches."""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

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


def target(device: str) -> None:
    """Every case once, to be watched, after another time that compiles."""
    from ..ops import OURS
    from .kernels import calls, main_cases

    if device == "cpu":
        calls(next(main_cases()), device, OURS)()
        return
    marker = torch.ones(1, device=device)
    for case in main_cases():
        call = calls(case, device, OURS)
        call()
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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.counters", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--target", action="store_true", help="run the kernels and nothing else")
    options = parser.parse_args(argv)
    if options.target or options.device == "cpu":
        target(options.device)
        return 0
    from .kernels import main_cases

    # The clocks stay as they are: the machine may be another's, too.
    command = ["ncu", "--profile-from-start", "off", "--clock-control", "none"]
    command += ["--csv", "--page", "raw", "--print-units", "base", "--metrics", ",".join(METRICS)]
    command += [sys.executable, "-m", "benchmarks.gpu.counters", "--target"]
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout[-20000:], done.stderr[-4000:], sep="\n")
    rows = parse(done.stdout, [case.name for case in main_cases()])
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return done.returncode or int(not rows)


if __name__ == "__main__":
    sys.exit(main())
