"""The GELU unit's executed kernels, against the float64 reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ..harness.compare import assert_close
from ..harness.device import DTYPES, EPSILON, Device, rounded
from .cases import every
from .checks import (
    check_any_order,
    check_backward,
    check_forward,
    check_no_images,
    check_one_gradient,
)
from .reference import GELU
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
    check_forward(device, case)


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
    check_forward(device, gelu((1, 8, 18, 8), channels_last=last))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward(device: Device, case: UntypedCase) -> None:
    check_backward(device, case)


@pytest.mark.parametrize("need", ["input", "weights"])
@pytest.mark.parametrize("case", every(gelu((1, 5, 37, 35))), ids=str)
def test_one_gradient(device: Device, case: UntypedCase, need: str) -> None:
    check_one_gradient(device, case, need)


@pytest.mark.parametrize("order", ["reverse", "random"])
@pytest.mark.parametrize("case", every(gelu((2, 5, 40, 70)), gelu((1, 8, 40, 8))), ids=str)
def test_the_order_of_threads_and_blocks_changes_nothing(
    device: Device, case: UntypedCase, order: str
) -> None:
    check_any_order(device, case, order)


@pytest.mark.parametrize("case", every(gelu((0, 4, 5, 8)), gelu((0, 3, 5, 7))), ids=str)
def test_no_images(device: Device, case: UntypedCase) -> None:
    check_no_images(device, case)


@pytest.mark.parametrize("case", every(gelu((1, 4, 20, 8)), gelu((1, 3, 20, 7))), ids=str)
def test_far_from_zero(device: Device, case: UntypedCase) -> None:
    """Where the normal distribution is 0 or 1, and where it is neither."""
    for bias in (3.0, 30.0, 1e4):
        far = replace(case, bias=bias)
        assert_close(far.forward(device).numpy(), far.expected(), "float32", "output")
        grad_input, _ = far.backward(device)
        assert grad_input is not None
        assert_close(grad_input.numpy(), far.expected_gradients()[0], "float32", "grad_input")


# Where rounding would take the fitted distribution beyond 1.
BEYOND = (5.3172174, 5.3289595, 5.332252, 5.338882, 5.3456507, 5.3909116, 5.3958917, 5.396672)


class Plain(UntypedCase):
    """The convolution is its input: values around and beyond the ends of the fitted range."""

    @property
    def input(self) -> Any:
        near = np.linspace(5.2, 5.6, 2000)
        ends = np.concatenate([near, -near, BEYOND])
        rest = np.linspace(-9.0, 9.0, int(np.prod(self.shape)) - ends.size)
        return rounded(np.concatenate([ends, rest]).reshape(self.shape), self.dtype)

    @property
    def weights(self) -> Any:
        weights = np.zeros((self.shape[1], 10))
        weights[:, 4] = 1
        return weights


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (1, 1, 63, 65)], ids=["rows", "tiles"])
def test_the_ends_of_the_normal_distribution(
    device: Device, shape: tuple[int, int, int, int]
) -> None:
    """Below 0 nothing is positive, above it nothing larger than x; far out it is 0, or x."""
    case = Plain(GELU, (), shape)
    got, x = case.forward(device).numpy(), case.input
    assert_close(got, case.expected(), "float32", "output")
    assert (np.abs(got - case.expected()) <= 2 * EPSILON["float32"] * np.abs(x)).all()
    assert (got[x < 0] <= 0).all()
    assert (got[x > 0] <= x[x > 0]).all()
    assert (got[x > 5.401] == x[x > 5.401]).all()
    assert (got[x < -5.401] == 0).all()
