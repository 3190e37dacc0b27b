"""The multi-scale unit's executed kernels, against the float64 reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ..harness.compare import assert_close
from ..harness.device import DTYPES, Device
from .cases import LAYOUTS, Case, every
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
    assert_close(case.forward(device).numpy(), case.expected(), case.dtype, "output")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward(device: Device, case: Case) -> None:
    check_backward(device, case)


def check_backward(device: Device, case: Case) -> None:
    grad_input, grad_weights = case.backward(device)
    expected_input, expected_weights = case.expected_gradients()
    if grad_input is not None:
        assert_close(grad_input.numpy(), expected_input, case.dtype, "grad_input")
    if grad_weights is not None:
        assert_close(grad_weights.numpy(), expected_weights, case.weight_dtype, "grad_weights")


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("need", ["input", "weights"])
def test_one_gradient(device: Device, need: str, last: bool) -> None:
    check_backward(device, case((1, 3, 9, 40), need=need, channels_last=last))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_group_of_channels_and_more(device: Device, dtype: str) -> None:
    for channels in (17, 64):
        for last in LAYOUTS:
            each = case((1, channels, 3, 5), dtype=dtype, channels_last=last)
            test_forward(device, each)
            check_backward(device, each)


@pytest.mark.parametrize("placement", ["start", "end"])
@pytest.mark.parametrize("misalignment", [0, 1])
def test_guard_pages(device: Device, placement: str, misalignment: int) -> None:
    """A tile reads and writes nothing beyond the maps, whatever its tails."""
    device.placement, device.misalignment = placement, misalignment
    for each in every(case((1, 3, 5, 11)), case((1, 2, 5, 67), dtype="bfloat16")):
        test_forward(device, each)
        check_backward(device, each)


@pytest.mark.parametrize("order", ["reverse", "random"])
def test_the_order_of_threads_and_blocks_changes_nothing(device: Device, order: str) -> None:
    """Nor does the number of blocks: the same bits."""
    for each in every(case((2, 5, 40, 70))):
        device.set_order()
        first = [each.forward(device), *each.backward(device)]
        device.set_order(order, order, seed=3)
        other = replace(each, max_blocks=3)
        for a, b in zip(first, [other.forward(device), *other.backward(device)], strict=True):
            assert a is not None
            assert b is not None
            assert np.array_equal(a.raw(), b.raw())


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


def test_shared_memory_starts_with_anything(device: Device) -> None:
    """Zeros in it would hide what is read before it is written; it starts as NaN otherwise."""
    device.module.set_options(shared_zero=True)
    for each in every(case((1, 5, 19, 37))):
        test_forward(device, each)
        check_backward(device, each)
