"""The GELU unit's executed kernels, against the float64 reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ..harness.compare import assert_close
from ..harness.device import DTYPES, Device
from .cases import every
from .untyped import UntypedCase, gelu

# One pixel; fewer rows and columns than a kernel; several steps and tiles with tails; rows and
# channels of whole vectors, in which a thread's rows end and begin; channels that are no groups.
SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 2, 6),
    (1, 4, 33, 36),
    (2, 8, 16, 4),
    (1, 1, 35, 67),
    (1, 9, 17, 40),
    (3, 2, 5, 132),
    (1, 17, 5, 3),
]
SIZES = ((3,), (5,), (7,))

CASES = every(
    *(gelu(shape) for shape in SHAPES),
    *(gelu((1, 5, 34, 67), sizes=sizes) for sizes in SIZES[1:]),
    *(gelu((1, 2, 3, 2), sizes=sizes) for sizes in SIZES[1:]),
    *(gelu(dtype=dtype, weight_dtype=dtype) for dtype in DTYPES if dtype != "float32"),
    *(gelu((1, 8, 18, 8), dtype=dtype) for dtype in ("float16", "bfloat16")),
    *(gelu((1, 2, 34, 70), sizes=(7,), dtype=dtype) for dtype in ("float64", "bfloat16")),
    # A bias that leaked out of the image would be seen.
    gelu((1, 4, 23, 40), bias=50.0),
    gelu((2, 9, 40, 70), max_blocks=2),
    gelu((2, 8, 40, 72), max_blocks=2),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(device: Device, case: UntypedCase) -> None:
    assert_close(case.forward(device).numpy(), case.expected(), case.dtype, "output")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_over_the_input(device: Device, case: UntypedCase) -> None:
    """The same bits as in another map, by whatever kernel."""
    got = case.over_input(device)
    assert_close(got.numpy(), case.expected(), case.dtype, "output")
    assert np.array_equal(got.raw(), case.forward(device).raw())


@pytest.mark.parametrize("order", ["reverse", "random"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("last", [False, True])
def test_over_the_input_in_any_order(
    device: Device, order: str, sizes: tuple[int, ...], last: bool
) -> None:
    """Where a block overwrites what its neighbours have yet to read."""
    case = gelu((2, 3, 70, 131), sizes=sizes, channels_last=last)
    device.set_order(order, order, seed=5)
    assert_close(case.over_input(device).numpy(), case.expected(), case.dtype, "output")


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("misalignment", [0, 1])
def test_misaligned(device: Device, last: bool, misalignment: int) -> None:
    device.misalignment = misalignment
    case = gelu((1, 8, 18, 8), channels_last=last)
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
@pytest.mark.parametrize("case", every(gelu((1, 5, 37, 35))), ids=str)
def test_one_gradient(device: Device, case: UntypedCase, need: str) -> None:
    """The same bits as with the other one."""
    both = case.backward(device)
    alone = replace(case, need=need).backward(device)
    for got, wanted in zip(alone, both, strict=True):
        assert got is None or np.array_equal(got.raw(), wanted.raw())  # type: ignore[union-attr]
    assert [each is not None for each in alone] == [need == "input", need == "weights"]


@pytest.mark.parametrize("order", ["reverse", "random"])
@pytest.mark.parametrize("case", every(gelu((2, 5, 40, 70)), gelu((1, 8, 40, 8))), ids=str)
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


@pytest.mark.parametrize("case", every(gelu((0, 4, 5, 8)), gelu((0, 3, 5, 7))), ids=str)
def test_no_images(device: Device, case: UntypedCase) -> None:
    case.forward(device)


@pytest.mark.parametrize("case", every(gelu((1, 4, 20, 8)), gelu((1, 3, 20, 7))), ids=str)
def test_far_from_zero(device: Device, case: UntypedCase) -> None:
    """Where the normal distribution is 0 or 1, and where it is neither."""
    for bias in (3.0, 30.0, 1e4):
        far = replace(case, bias=bias)
        assert_close(far.forward(device).numpy(), far.expected(), "float32", "output")
        grad_input, _ = far.backward(device)
        assert grad_input is not None
        assert_close(grad_input.numpy(), far.expected_gradients()[0], "float32", "grad_input")
