"""The multi-scale unit's executed kernels, against the float64 reference."""

from __future__ import annotations

import pytest

from ..harness.compare import assert_close
from ..harness.device import DTYPES, Device
from .cases import Case, every
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
