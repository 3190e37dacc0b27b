"""The multi-scale unit's executed kernels, against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from ..harness.device import DTYPES, Device
from .cases import LAYOUTS, Case, every
from .checks import (
    check_any_order,
    check_backward,
    check_forward,
    check_no_images,
    check_one_gradient,
)
from .reference import MULTI_SCALE

# One pixel; fewer rows and columns than a kernel; several steps and tiles with tails; channels
# that are not whole groups; chunks of rows, in which a tile starts within the image.
SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 4, 6),
    (1, 5, 19, 37),
    (1, 1, 37, 70),
    (1, 4, 7, 131),
    (1, 2, 71, 9),
    (3, 1, 40, 66),
]
ANY_STRIPS = ((3, 5, 31), (31, 9, 3), (21, 11, 7))


def case(shape: tuple[int, int, int, int] = (2, 5, 9, 13), **options: object) -> Case:
    sizes = options.pop("sizes", ())
    return Case(MULTI_SCALE, sizes, shape, **options)  # type: ignore[arg-type]


CASES = every(
    *(case(shape) for shape in SHAPES),
    *(case(dtype=dtype) for dtype in DTYPES if dtype != "float32"),
    *(case((1, 2, 12, 70), dtype=dtype, weight_dtype=dtype) for dtype in DTYPES),
    case((1, 3, 23, 20), bias=1e4, dtype="float64", weight_dtype="float64"),
    case((1, 3, 23, 40), bias=100.0),
    *(case((1, 5, 17, 20), sizes=sizes) for sizes in ANY_STRIPS),
    case((1, 5, 37, 20), sizes=(3, 5, 31), dtype="float64", weight_dtype="float64"),
    case((1, 3, 9, 20), sizes=(3, 5, 31), dtype="bfloat16"),
    case((2, 9, 33, 70), max_blocks=2),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(device: Device, case: Case) -> None:
    check_forward(device, case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward(device: Device, case: Case) -> None:
    check_backward(device, case)


@pytest.mark.parametrize("need", ["input", "weights"])
@pytest.mark.parametrize("case", every(case((1, 3, 9, 40)), case(sizes=(3, 5, 31))), ids=str)
def test_one_gradient(device: Device, case: Case, need: str) -> None:
    check_one_gradient(device, case, need)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_group_of_channels_and_more(device: Device, dtype: str) -> None:
    for channels in (17, 64):
        for last in LAYOUTS:
            each = case((1, channels, 3, 5), dtype=dtype, channels_last=last)
            check_forward(device, each)
            check_backward(device, each)


@pytest.mark.parametrize("placement", ["start", "end"])
@pytest.mark.parametrize("misalignment", [0, 1])
def test_guard_pages(device: Device, placement: str, misalignment: int) -> None:
    """A tile reads and writes nothing beyond the maps, whatever its tails."""
    device.placement, device.misalignment = placement, misalignment
    for each in every(case((1, 3, 5, 11)), case((1, 2, 5, 67), dtype="bfloat16")):
        check_forward(device, each)
        check_backward(device, each)


@pytest.mark.parametrize("order", ["reverse", "random"])
@pytest.mark.parametrize("case", every(case((2, 5, 40, 70))), ids=str)
def test_the_order_of_threads_and_blocks_changes_nothing(
    device: Device, case: Case, order: str
) -> None:
    check_any_order(device, case, order)


@pytest.mark.parametrize("case", every(case((0, 3, 5, 7)), case((0, 3, 5, 70))), ids=str)
def test_no_images(device: Device, case: Case) -> None:
    check_no_images(device, case)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("last", LAYOUTS)
def test_what_is_not_finite_stays_where_it_is_seen(
    device: Device, last: bool, value: float
) -> None:
    """A pixel reaches as far as the strips do, and no further."""

    class Marked(Case):
        @property
        def input(self) -> np.ndarray:
            values = super().input
            values[0, 1, 20, 33] = value
            return values

    for sizes in ((7, 11, 21), (3, 9, 5)):
        got = Marked(MULTI_SCALE, sizes, (1, 2, 41, 67), channels_last=last).forward(device).numpy()
        # The last strip is the longest or next to it; beyond 5x5 a row and a column.
        reach = max(sizes) // 2 + 2
        rows, columns = (slice(at - reach, at + reach + 1) for at in (20, 33))
        assert not np.isfinite(got[0, 1, rows, columns]).all(axis=(0, 1))
        got[0, 1, rows, columns] = 0
        assert np.isfinite(got).all()
