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
from .reference import MULTI_SCALE

pytestmark = pytest.mark.skipif(
    KIND not in ("plain", "count"), reason="counts in a build of its own"
)

FAMILY = "depthwise"
UNITS = ("multi_scale_float32",)

CASES = every(
    Case(MULTI_SCALE, shape=(1, 4, 40, 70)),
    Case(MULTI_SCALE, shape=(1, 8, 16, 32)),
    Case(MULTI_SCALE, (3, 5, 31), (1, 4, 20, 20)),
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


@pytest.mark.parametrize("direction", [Case.forward, Case.backward])
def test_linear_in_the_pixels(
    counting: Device, direction: Callable[[Case, Device], object]
) -> None:
    found = []
    for rows in (64, 128):
        case = Case(MULTI_SCALE, shape=(1, 1, rows, 64))
        found.append(counted(counting, lambda device, case=case: direction(case, device))[0])
    assert found[1] <= 1.05 * 2 * found[0]
