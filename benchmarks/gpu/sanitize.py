"""``python -m benchmarks.gpu.sanitize``: compute-sanitizer's memcheck and racecheck on the small
cases, op by op."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .check import die_with_parent
from .measure import on_cuda
from .record import OK, Record
from .smoke import ops

TAIL = 1500


def commands(device: str) -> Iterator[tuple[str, list[str]]]:
    """By name. A rehearsal runs what would be watched, as it is."""
    tools = ("memcheck", "racecheck") if on_cuda(device) else ("bare",)
    for tool in tools:
        for op in ops():
            watched = [sys.executable, "-m", "benchmarks.gpu.smoke", "--device", device]
            watched += ["--bare", "--group", op]
            sanitizer = ["compute-sanitizer", "--error-exitcode", "9", "--tool", tool]
            yield f"{tool} {op}", [*(sanitizer if on_cuda(device) else []), *watched]


def errors_of(output: str) -> int | None:
    found = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (?:error|hazard)", output)
    return int(found[-1]) if found else None


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.sanitize", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, required=True, metavar="PATH")
    options = parser.parse_args(argv)
    planned = dict(commands(options.device))
    record = Record(options.json, "sanitize", planned)
    if on_cuda(options.device) and shutil.which("compute-sanitizer") is None:
        print("compute-sanitizer: not on PATH")
        return 1
    # Otherwise a block of torch's allocator hides what is written beside a tensor.
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    for name, command in planned.items():
        if record.ended_well(name):
            continue
        done = subprocess.run(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        status = OK if done.returncode == 0 else f"failed: exit status {done.returncode}"
        tail = "" if status == OK else done.stdout[-TAIL:]
        record.add(name, status, errors=errors_of(done.stdout), tail=tail)
        print(f"{status}: {name}\n{tail}", flush=True)
    return int(not record.all_ended_well)


if __name__ == "__main__":
    sys.exit(main())
