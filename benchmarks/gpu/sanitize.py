"""``python -m benchmarks.gpu.sanitize``: compute-sanitizer's memcheck and racecheck on the small
cases, op by op."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from .check import die_with_parent
from .measure import on_cuda, parser, work
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


def measure(command: list[str]) -> dict[str, Any]:
    # Otherwise a block of torch's allocator hides what is written beside a tensor.
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    done = subprocess.run(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )  # fmt: skip
    failed = done.returncode != 0
    status = f"failed: exit status {done.returncode}" if failed else OK
    tail = done.stdout[-TAIL:] if failed else ""
    print(tail, end="")
    return {"status": status, "errors": errors_of(done.stdout), "tail": tail}


def main(argv: Sequence[str] | None = None) -> int:
    options = parser("sanitize", __doc__).parse_args(argv)
    planned = dict(commands(options.device))
    record = Record(options.json, planned)
    if on_cuda(options.device) and shutil.which("compute-sanitizer") is None:
        print("compute-sanitizer: not on PATH")
        return 1
    return work(record, planned, measure)


if __name__ == "__main__":
    sys.exit(main())
