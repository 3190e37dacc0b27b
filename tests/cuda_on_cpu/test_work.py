"""The deterministic backward's work is linear in the pixels, wherever they sample: counted in the
basic blocks that its kernels execute, not timed."""

from __future__ import annotations

import pytest

from .cases import Sample
from .conftest import KIND, load_device
from .device import Device

pytestmark = pytest.mark.skipif(KIND != "plain", reason="counts in a build of its own")

SIZES = [(32, 32), (64, 64), (128, 64)]


@pytest.fixture(scope="module")
def counting() -> Device:
    return load_device("kernels", "count", ("sample_backward_float32",))


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
    device.module.take_records()
    case.backward(device, want_offset=False)
    return sum(record["work"] for record in device.module.take_records())


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("field", ["collapsed", "smooth", "random"])
def test_linear_in_the_pixels(counting: Device, last: bool, field: str) -> None:
    counted = [work(counting, last, field, size) for size in SIZES]
    assert counted[0] > 0
    for before, after, factor in zip(counted, counted[1:], (4, 2), strict=False):
        # At most: what does not depend on the pixels is in both.
        assert after <= 1.05 * factor * before


@pytest.mark.parametrize("last", [False, True])
def test_one_cell_costs_no_more_than_many(counting: Device, last: bool) -> None:
    for size in SIZES:
        collapsed, spread = (work(counting, last, f, size) for f in ("collapsed", "random"))
        assert collapsed <= 1.5 * spread
