"""The large-kernel unit's executed kernels, against the float64 reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ..harness.compare import assert_close
from ..harness.device import DTYPES, Device
from .cases import every
from .checks import (
    check_any_order,
    check_backward,
    check_forward,
    check_no_images,
    check_one_gradient,
)
from .untyped import UntypedCase, large_kernel

# One pixel; fewer rows and columns than a kernel; several steps and tiles with tails; channels that
# are not whole groups.
SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 4, 6),
    (1, 5, 37, 35),
    (1, 1, 70, 67),
    (1, 9, 7, 40),
    (3, 2, 12, 131),
    (1, 17, 5, 3),
]

CASES = every(
    *(large_kernel(shape) for shape in SHAPES),
    *(large_kernel(dtype=dtype, weight_dtype=dtype) for dtype in DTYPES if dtype != "float32"),
    *(large_kernel((1, 3, 12, 40), dtype=dtype) for dtype in DTYPES if dtype != "float32"),
    # Other dilations, of which the largest reaches far out of the map.
    *(large_kernel((1, 3, 37, 40), sizes=(d,)) for d in (1, 2, 4, 5, 8)),
    large_kernel((1, 2, 50, 35), sizes=(8,), dtype="float64", weight_dtype="float64"),
    large_kernel((1, 2, 9, 33), sizes=(7,), dtype="bfloat16"),
    # A bias that leaked out of the image would be seen.
    large_kernel((1, 3, 23, 40), bias=100.0),
    large_kernel((1, 3, 23, 40), bias=1e4, dtype="float64", weight_dtype="float64"),
    large_kernel((2, 9, 40, 70), max_blocks=2),
)
# Enough tiles for eight planes at a time.
WIDE = large_kernel((1, 41, 34, 741), channels_last=True)


@pytest.mark.parametrize("case", [*CASES, WIDE], ids=str)
def test_forward(device: Device, case: UntypedCase) -> None:
    check_forward(device, case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward(device: Device, case: UntypedCase) -> None:
    check_backward(device, case)


@pytest.mark.parametrize("need", ["input", "weights"])
@pytest.mark.parametrize("case", every(large_kernel((1, 5, 37, 35))), ids=str)
def test_one_gradient(device: Device, case: UntypedCase, need: str) -> None:
    check_one_gradient(device, case, need)


@pytest.mark.parametrize("order", ["reverse", "random"])
@pytest.mark.parametrize("case", every(large_kernel((2, 5, 40, 70))), ids=str)
def test_the_order_of_threads_and_blocks_changes_nothing(
    device: Device, case: UntypedCase, order: str
) -> None:
    check_any_order(device, case, order)


@pytest.mark.parametrize(
    ("kib", "images", "is_eight"),
    [
        (227, 132, True),
        (227, 131, False),
        (163, 132, False),  # one block of eight planes, where two of four fit
        (99, 132, False),
    ],
)
def test_eight_planes_where_two_blocks_fit(
    device: Device, kib: int, images: int, is_eight: bool
) -> None:
    """And where there are enough tiles: two for each image here."""
    case = large_kernel((images, 9, 1, 2), channels_last=True, max_shared=kib << 10)
    device.module.take_records()
    check_forward(device, case)
    (record,) = device.module.take_records()
    assert record["grid"][0] == images * (2 if is_eight else 3)
    assert record["dynamic_shared_bytes"] <= (kib << 10) // (2 if is_eight else 1)


@pytest.mark.parametrize("case", every(large_kernel((0, 3, 5, 7))), ids=str)
def test_no_images(device: Device, case: UntypedCase) -> None:
    check_no_images(device, case)


def test_kernels_ask_for_shared_memory_once(device: Device) -> None:
    """Whatever the dilation, of which the first one asked for less."""
    case = large_kernel((1, 1, 2, 3))
    for dilation in (1, 3):
        check_forward(device, replace(case, sizes=(dilation,)))
        check_backward(device, replace(case, sizes=(dilation,)))
    before = device.call("attributes_set")
    assert before >= 6
    for dilation in range(1, 9):
        check_forward(device, replace(case, sizes=(dilation,)))
        check_backward(device, replace(case, sizes=(dilation,)))
    assert device.call("attributes_set") == before


def test_infinity_stays_where_it_is_met(device: Device) -> None:
    class Infinite(UntypedCase):
        @property
        def input(self) -> Any:
            values = super().input
            values[0, 1, 5, 6] = np.inf
            return values

    case = Infinite(large_kernel().unit, (), (1, 3, 40, 40))
    expected = case.expected()
    assert not np.isfinite(expected[0, 1]).all()
    with np.errstate(invalid="ignore"):
        assert_close(case.forward(device).numpy(), expected, "float32")
