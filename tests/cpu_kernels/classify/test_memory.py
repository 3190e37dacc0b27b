"""The memory that a thread takes beside inputs, outputs and tables."""

from __future__ import annotations

import threading

import pytest

from tests.cuda_on_cpu.classify.cases import Case
from tests.cuda_on_cpu.harness.device import Device
from tests.cuda_on_cpu.harness.session import KIND

MIB = 1 << 20


def scratch_of(device: Device, case: Case) -> int:
    """By a thread that has none yet: a thread keeps what it has."""
    device.call("take_largest_scratch")
    for call in (lambda: case.loss(device), lambda: case.argmax(device, True)):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    return device.call("take_largest_scratch")


@pytest.mark.skipif(KIND == "asan", reason="the sanitizer has the allocator to itself")
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("classes", [2, 9, 19, 63, 150, 512, 639, 640, 1000])
def test_a_thread_takes_at_most_a_mebibyte(device: Device, classes: int, dtype: str) -> None:
    # As wide as strips would be if nodes alone counted.
    widest = max((1 << 19) // (24 * classes), 31)
    for width, factor in ((70, 1), (70, 4), (70, 8), (70, 2.157), (widest, 8), (34, 8)):
        # Rows of pixels that are taken together take memory, which those in float64 never are.
        rows = 2 if dtype == "float64" else round(2 * factor)
        low, high = (2, width), (rows, round(width * factor))
        case = Case(dtype, batch=1, classes=classes, low=low, high=high, smoothing_percent=10)
        taken = scratch_of(device, case)
        assert 0 < taken <= MIB, f"{case}: {taken / MIB:.2f} MiB"
