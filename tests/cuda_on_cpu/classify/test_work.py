"""The kernels' work, counted in the basic blocks that they execute, not timed: no more than is on
record, and linear in the pixels.

``python -m tests.cuda_on_cpu.harness.work classify`` records what there is now.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ..harness.device import Device
from ..harness.session import KIND, load_device
from ..harness.work import assert_no_more_than_recorded, counted
from .cases import Areas, Case

pytestmark = pytest.mark.skipif(
    KIND not in ("plain", "count"), reason="counts in a build of its own"
)

FAMILY = "classify"
UNITS = ("kernels_float32", "dispatch", "kernels_float64", "kernels_float16", "kernels_bfloat16")

LOSSES = [
    Case(reduction=reduction, channels_last=last, smoothing_percent=smooth, high=high)
    for reduction, last, smooth, high in (
        ("mean", False, 0, (16, 24)),
        ("mean", True, 10, (16, 24)),
        ("none", False, 0, (11, 23)),
        ("sum", False, 0, (3, 5)),
    )
]


AREAS = Areas(batch=1, classes=19, low=(36, 36), high=(144, 144))


@pytest.fixture
def counting() -> Device:
    return load_device(FAMILY, "count", UNITS)


def jobs() -> dict[str, Callable[[Device], object]]:
    result: dict[str, Callable[[Device], object]] = {}
    for case in LOSSES:
        result[f"{case}-loss"] = case.loss
    result["areas-loss"] = AREAS.loss
    result["areas-argmax"] = lambda device: AREAS.argmax(device, False)
    for confident in (False, True):
        result[f"argmax-{confident}"] = lambda device, confident=confident: Case().argmax(
            device, confident
        )
    return result


JOBS = jobs()


@pytest.mark.parametrize("job", JOBS)
def test_no_more_work_than_is_on_record(counting: Device, job: str) -> None:
    """What makes a kernel slower and changes no result, such as a pass too many, shows here."""
    assert_no_more_than_recorded(FAMILY, counting, job, JOBS[job])


def test_linear_in_the_pixels(counting: Device) -> None:
    found = [
        counted(counting, Case(batch=1, low=(n, n), high=(4 * n, 4 * n)).loss)[0] for n in (32, 64)
    ]
    assert found[1] <= 1.1 * 4 * found[0]
