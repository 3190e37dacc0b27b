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

METRICS = {
    "gpu__time_duration.sum": "nanoseconds",
    "dram__bytes.sum.per_second": "dram_bytes_per_second",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "dram_percent",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy_percent",
    "lts__t_requests_op_red.sum": "reduction_requests",
    "lts__t_sectors_op_red.sum": "reduction_sectors",
    "smsp__sass_average_data_bytes_per_sector_mem_global_op_ld.pct": "load_efficiency_percent",
}
KERNELS = "regex:sample_|backward_window|scatter_planes|offset_grad|gather|aggregate|flash|softmax"


def target(device: str) -> None:
    from ..ops import OURS
    from .kernels import calls, main_cases

    for case in main_cases() if device == "cuda" else [next(main_cases())]:
        calls(case, device, OURS)()


def parse(text: str) -> list[dict[str, object]]:
    """Rows of Nsight Compute's CSV in its raw page; whatever it says before is left out."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    rows = []
    for row in csv.DictReader(io.StringIO("\n".join(lines))):
        if not row.get("Kernel Name") or not row.get("ID", "").isdigit():
            continue  # the line of units
        found: dict[str, object] = {"kernel": row["Kernel Name"]}
        for metric, name in METRICS.items():
            value = (row.get(metric) or "").replace(",", "")
            found[name] = float(value) if value not in ("", "n/a") else None
        rows.append(found)
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
    command = [
        "ncu", "--csv", "--page", "raw", "--print-units", "base", "--kernel-name", KERNELS,
        "--metrics", ",".join(METRICS), "--launch-count", "60", sys.executable, "-m",
        "benchmarks.gpu.counters", "--target",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout[-20000:], done.stderr[-4000:], sep="\n")
    rows = parse(done.stdout)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return done.returncode or int(not rows)


if __name__ == "__main__":
    sys.exit(main())
