"""``python -m benchmarks.gpu.kernels``: which kernels the main cases launch, how many, and how
long each takes on the device, by torch's profiler."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from ..cases import LAYOUTS, AnyCase, AttentionCase, Case
from ..cost import cost
from ..ops import BASELINE, OPS, OURS, arguments
from ..runner import prepare

CALLS = 10


def main_cases() -> Iterator[AnyCase]:
    """The shapes of the targets: the finest level of Cityscapes, and its attention."""
    for dtype in (torch.float32, torch.bfloat16):
        for layout in LAYOUTS:
            for direction in ("forward", "backward"):
                yield Case(
                    "semantic_refine", (128, 256), (256, 512), 1, 128, dtype, layout, direction
                )
    for direction in ("forward", "backward"):
        for value_width in (256, 1024):
            yield AttentionCase(2048, 256, value_width, 1, torch.bfloat16, direction)


def calls(case: AnyCase, device: str, implementation: str) -> Callable[[], object]:
    function = OPS[case.op].implementations[implementation]
    return prepare(function, arguments(case, device), case.direction)


def timed(case: AnyCase, device: str, implementation: str) -> dict[str, object]:
    call = calls(case, device, implementation)
    call()
    activities = [ProfilerActivity.CPU]
    if torch.device(device).type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        for _ in range(CALLS):
            call()
    kernels: dict[str, list[float]] = {}
    for event in profiler.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            kernels.setdefault(event.name, []).append(event.device_time / 1e6)
    seconds = sum(map(sum, kernels.values())) / CALLS
    return {
        "case": case.name,
        "implementation": implementation,
        "launches": sum(map(len, kernels.values())) / CALLS,
        "seconds": seconds,
        "bytes_per_second": cost(case).bytes / seconds if seconds else None,
        "kernels": {
            name: {"launches": len(each) / CALLS, "seconds": sum(each) / CALLS}
            for name, each in kernels.items()
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.kernels", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, required=True, metavar="PATH")
    options = parser.parse_args(argv)
    chosen = list(main_cases())
    if torch.device(options.device).type == "cpu":
        chosen = chosen[:1]  # shows that the program runs; there are no kernels to time
    rows = []
    for case in chosen:
        for implementation in (OURS, BASELINE):
            rows.append(timed(case, options.device, implementation))
            print(case.name, implementation, rows[-1]["launches"], rows[-1]["seconds"])
    options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
