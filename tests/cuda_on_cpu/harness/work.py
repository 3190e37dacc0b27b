"""The kernels' work, counted in the basic blocks that they execute, and the record of it.

Each family says in its `test_work.py` what is counted: JOBS, by name, and
UNITS, the translation units that they need. ``python -m tests.cuda_on_cpu.harness.work FAMILY``
records what there is now.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from . import build
from .device import Device
from .session import load_device

Job = Callable[[Device], object]


def record_of(family: str) -> Path:
    return build.FOLDER / family / "work.json"


def compiler() -> str:
    return build.compiler_version().splitlines()[0]


def counted(device: Device, run: Job) -> tuple[int, int]:
    """Basic blocks, and bytes of the workspace."""
    device.module.take_records()
    before = device.workspace_bytes
    run(device)
    blocks = sum(record["work"] for record in device.module.take_records())
    return blocks, device.workspace_bytes - before


def assert_no_more_than_recorded(family: str, device: Device, name: str, run: Job) -> None:
    record = json.loads(record_of(family).read_text())
    if record["compiler"] != compiler():
        pytest.skip(f"counted with {record['compiler']}, this is {compiler()}")
    blocks, workspace = counted(device, run)
    assert blocks > 0
    recorded_blocks, recorded_workspace = record["jobs"][name]
    again = f"python -m tests.cuda_on_cpu.harness.work {family}"
    renew = f"more than on record; if it has to be: {again}"
    assert blocks <= recorded_blocks, renew
    assert workspace <= recorded_workspace, renew


def write(family: str, jobs: Mapping[str, Job], units: Sequence[str]) -> None:
    device = load_device(family, "count", units)
    found = {name: counted(device, run) for name, run in jobs.items()}
    text = json.dumps({"compiler": compiler(), "jobs": found}, indent=1) + "\n"
    record_of(family).write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser(description="Records the work that a family's kernels do.")
    parser.add_argument("family", choices=build.families())
    family = parser.parse_args().family
    tests = importlib.import_module(f"..{family}.test_work", __package__)
    write(family, tests.JOBS, tests.UNITS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
