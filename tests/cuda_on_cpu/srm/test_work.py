"""The kernels' work, counted in the basic blocks that they execute, not timed: no more than is on
record, and of the deterministic backward linear in the pixels, wherever they sample.

``python -m tests.cuda_on_cpu.harness.work srm`` records what there is now.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ..harness.device import Device
from ..harness.session import KIND, load_device
from ..harness.work import assert_no_more_than_recorded, counted
from .cases import Aggregate, Sample
from .test_backward import MODES, label
from .test_forward import name as forward_label

pytestmark = pytest.mark.skipif(
    KIND not in ("plain", "count"), reason="counts in a build of its own"
)

FAMILY = "srm"
UNITS = ("aggregate", "sample_forward_float32", "sample_backward_float32")

SIZES = [(32, 32), (64, 64), (128, 64)]
LAYOUTS = [False, True]

AGGREGATES = [Aggregate(2, 9, 35), Aggregate(2, 9, 35, logits=True), Aggregate(1, 17, 64)]
FORWARDS = [
    Sample(
        channels_last=last, channels=channels, field=field, out_size=(9, 33), mask=mask, skip=skip
    )
    for last in LAYOUTS
    for field, channels in (("smooth", 8), ("random", 13), ("far", 40))
    for mask, skip in (("logits", True), ("", False))
]
BACKWARDS = [
    Sample(
        channels_last=last,
        deterministic=mode,
        channels=channels,
        field=field,
        in_size=(12, 9),
        out_size=(23, width),
    )
    for last, mode in MODES
    for field, channels, width in (
        ("smooth", 8, 16),
        ("random", 13, 33),
        ("far", 40, 17),
        ("collapsed", 16, 48),
        ("neighbours", 4, 64),
    )
]


@pytest.fixture
def counting() -> Device:
    return load_device(FAMILY, "count", UNITS)


def jobs() -> dict[str, Callable[[Device], object]]:
    result: dict[str, Callable[[Device], object]] = {}
    for number, each in enumerate(AGGREGATES):
        result[f"aggregate-{number}-forward"] = each.forward
        result[f"aggregate-{number}-backward"] = each.backward
    for case in FORWARDS:
        result[f"{forward_label(case)}-forward"] = case.forward
    for case in BACKWARDS:
        result[f"{label(case)}-backward"] = case.backward
    return result


JOBS = jobs()


@pytest.mark.parametrize("job", JOBS)
def test_no_more_work_than_is_on_record(counting: Device, job: str) -> None:
    """What makes a kernel slower and changes no result, such as a pass too many, shows here."""
    assert_no_more_than_recorded(FAMILY, counting, job, JOBS[job])


def work(device: Device, last: bool, field: str, size: tuple[int, int]) -> int:
    case = Sample(
        channels_last=last,
        deterministic=True,
        field=field,
        in_size=(9, 8),
        out_size=size,
        channels=4,
        batch=1,
    )
    return counted(device, lambda device: case.backward(device, want_offset=False))[0]


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("field", ["collapsed", "smooth", "random"])
def test_linear_in_the_pixels(counting: Device, last: bool, field: str) -> None:
    found = [work(counting, last, field, size) for size in SIZES]
    assert found[0] > 0
    for before, after, factor in zip(found, found[1:], (4, 2), strict=False):
        # At most: what does not depend on the pixels is in both.
        assert after <= 1.05 * factor * before


@pytest.mark.parametrize("last", LAYOUTS)
def test_one_cell_costs_no_more_than_many(counting: Device, last: bool) -> None:
    for size in SIZES:
        collapsed, spread = (work(counting, last, f, size) for f in ("collapsed", "random"))
        assert collapsed <= 1.5 * spread
