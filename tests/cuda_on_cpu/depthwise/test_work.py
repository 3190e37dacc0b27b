"""The kernels' work, counted in the basic blocks that they execute, not timed: no more than is on
record, and linear in the pixels.

``python -m tests.cuda_on_cpu.harness.work depthwise`` records what there is now.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ..harness.device import Device
from ..harness.session import KIND, load_device
from ..harness.work import assert_no_more_than_recorded, counted
from .cases import Case, every
from .reference import GELU, LARGE_KERNEL, MULTI_SCALE
from .untyped import UntypedCase, gelu, large_kernel

pytestmark = pytest.mark.skipif(
    KIND not in ("plain", "count"), reason="counts in a build of its own"
)

FAMILY = "depthwise"
UNITS = ("multi_scale_float32", "large_kernel", "gelu")

CASES = every(
    Case(MULTI_SCALE, shape=(1, 4, 40, 70)),
    Case(MULTI_SCALE, shape=(1, 8, 16, 32)),
    Case(MULTI_SCALE, (3, 5, 31), (1, 4, 20, 20)),
    large_kernel((1, 4, 40, 70)),
    large_kernel((1, 8, 16, 32)),
    large_kernel((1, 3, 20, 20), sizes=(2,)),
    gelu((1, 8, 34, 72)),
    gelu((1, 3, 20, 35)),
    gelu((1, 3, 20, 20), sizes=(5,)),
)


@pytest.fixture
def counting() -> Device:
    return load_device(FAMILY, "count", UNITS)


def jobs() -> dict[str, Callable[[Device], object]]:
    result: dict[str, Callable[[Device], object]] = {}
    for case in CASES:
        result[f"{case}-forward"] = case.forward
        result[f"{case}-backward"] = case.backward
    return result


JOBS = jobs()


@pytest.mark.parametrize("job", JOBS)
def test_no_more_work_than_is_on_record(counting: Device, job: str) -> None:
    """What makes a kernel slower and changes no result, such as a step too many, shows here."""
    assert_no_more_than_recorded(FAMILY, counting, job, JOBS[job])


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("unit", [MULTI_SCALE, LARGE_KERNEL, GELU])
def test_linear_in_the_pixels(counting: Device, unit: int, direction: str) -> None:
    # A tile that starts within the image computes rows above it, too: not the first one's.
    sizes = {MULTI_SCALE: (160, 320), LARGE_KERNEL: (66, 132), GELU: (64, 128)}
    found = []
    for rows in sizes[unit]:
        shape = (1, 1, rows, 64)
        case = Case(unit, shape=shape) if unit == MULTI_SCALE else UntypedCase(unit, shape=shape)
        found.append(counted(counting, getattr(case, direction))[0])
    assert found[1] <= 1.05 * 2 * found[0]
