"""The large-kernel unit's executed kernels, against the float64 reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ..harness.compare import assert_close
from ..harness.device import DTYPES, Device
from .cases import every
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
# Enough tiles for eight planes at a time, and the same where a block has 99 KiB of shared memory.
WIDE = large_kernel((1, 41, 34, 741), channels_last=True)
FORWARD = [*CASES, WIDE, replace(WIDE, max_shared=99 << 10)]


@pytest.mark.parametrize("case", FORWARD, ids=str)
def test_forward(device: Device, case: UntypedCase) -> None:
    assert_close(case.forward(device).numpy(), case.expected(), case.dtype, "output")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward(device: Device, case: UntypedCase) -> None:
    want_input, want_weights = case.expected_gradients()
    grad_input, grad_weights = case.backward(device)
    assert grad_input is not None
    assert grad_weights is not None
    assert_close(grad_input.numpy(), want_input, case.dtype, "grad_input")
    assert_close(grad_weights.numpy(), want_weights, case.weight_dtype, "grad_weights")


@pytest.mark.parametrize("need", ["input", "weights"])
@pytest.mark.parametrize("case", every(large_kernel((1, 5, 37, 35))), ids=str)
def test_one_gradient(device: Device, case: UntypedCase, need: str) -> None:
    """The same bits as with the other one."""
    both = case.backward(device)
    alone = replace(case, need=need).backward(device)
    for got, wanted in zip(alone, both, strict=True):
        assert got is None or np.array_equal(got.raw(), wanted.raw())  # type: ignore[union-attr]
    assert [each is not None for each in alone] == [need == "input", need == "weights"]


@pytest.mark.parametrize("order", ["reverse", "random"])
@pytest.mark.parametrize("case", every(large_kernel((2, 5, 40, 70))), ids=str)
def test_the_order_of_threads_and_blocks_changes_nothing(
    device: Device, case: UntypedCase, order: str
) -> None:
    device.set_order()
    first = [each.raw() for each in (case.forward(device), *case.backward(device)) if each]
    device.set_order(order, order, seed=3)
    again = [each.raw() for each in (case.forward(device), *case.backward(device)) if each]
    assert len(first) == 3
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a, b)


def test_every_dilation_fits_into_99_kib(device: Device) -> None:
    device.module.take_records()
    for dilation in range(1, 9):
        for case in every(*(large_kernel((1, 4, 2, 3), dtype=dtype) for dtype in DTYPES[:2])):
            small = replace(case, sizes=(dilation,), max_shared=99 << 10)
            small.forward(device)
            small.backward(device)
    records = device.module.take_records()
    assert len(records) == 8 * 4 * 4
    most = max(each["static_shared_bytes"] + each["dynamic_shared_bytes"] for each in records)
    assert 48 << 10 < most <= 99 << 10


@pytest.mark.parametrize("case", every(large_kernel((0, 3, 5, 7))), ids=str)
def test_no_images(device: Device, case: UntypedCase) -> None:
    case.forward(device)


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
