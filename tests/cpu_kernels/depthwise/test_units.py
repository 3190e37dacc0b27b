"""The units and their gradients, against the float64 reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.cuda_on_cpu.depthwise import cases
from tests.cuda_on_cpu.depthwise.cases import LAYOUTS, UNITS, every
from tests.cuda_on_cpu.depthwise.reference import GELU, LARGE_KERNEL, MULTI_SCALE
from tests.cuda_on_cpu.harness.compare import assert_close
from tests.cuda_on_cpu.harness.device import DTYPES, Device, Tensor


class Case(cases.Case):
    """Calls the CPU kernels."""

    def forward(self, device: Device) -> Tensor:
        output = device.empty("output", self.shape, self.dtype, self.channels_last)
        device.launch("forward", **self.arguments(device), output=output)
        return output

    @property
    def backward_entries(self) -> tuple[str, str]:
        return "backward_workspace", "backward"


# One pixel, fewer rows and columns than a kernel, several steps of rows, two to five tiles with
# tails; one channel, a register with a tail, more than a group.
SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 4, 6),
    (1, 17, 19, 5),
    (1, 2, 11, 70),
    (1, 9, 3, 131),
    (1, 2, 9, 270),
]
CASES = every(
    *(Case(unit, shape=shape) for unit in UNITS for shape in SHAPES),
    *(Case(unit, shape=(1, 33, 6, 7)) for unit in UNITS),
    *(Case(unit, dtype=dtype) for unit in UNITS for dtype in DTYPES if dtype != "float32"),
    *(
        Case(unit, dtype=dtype, weight_dtype=dtype, shape=(1, 8, 5, 6))
        for unit in UNITS
        for dtype in DTYPES
    ),
    *(Case(unit, bias=100.0, dtype="float64", weight_dtype="float64") for unit in UNITS),
    Case(MULTI_SCALE, (3, 5, 31), (1, 4, 17, 20)),
    Case(MULTI_SCALE, (31, 9, 3), (1, 4, 17, 20)),
    Case(LARGE_KERNEL, (1,), (1, 4, 9, 20)),
    Case(LARGE_KERNEL, (8,), (1, 4, 30, 28)),
    Case(GELU, (5,), (1, 4, 9, 20)),
    Case(GELU, (7,), (1, 4, 9, 20)),
    Case(GELU, shape=(1, 2, 2, 520)),
    Case(GELU, shape=(1, 520, 3, 4)),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(device: Device, case: Case) -> None:
    assert_close(case.forward(device).numpy(), case.expected(), case.dtype, "output")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward(device: Device, case: Case) -> None:
    check_backward(device, case)


def check_backward(device: Device, case: Case) -> None:
    if case.unit == GELU and case.shape == (1, 1, 1, 1):
        case = replace(case, bias=3.0)  # a single pixel far from where the slope is 0
    grad_input, grad_weights = case.backward(device)
    expected_input, expected_weights = case.expected_gradients()
    if grad_input is not None:
        assert_close(grad_input.numpy(), expected_input, case.dtype, "grad_input")
    if grad_weights is not None:
        assert_close(grad_weights.numpy(), expected_weights, case.weight_dtype, "grad_weights")


@pytest.mark.parametrize("need", ["input", "weights"])
@pytest.mark.parametrize("unit", UNITS)
def test_one_gradient(device: Device, unit: int, need: str) -> None:
    check_backward(device, Case(unit, need=need, channels_last=True))


class NanCase(Case):
    @property
    def input(self) -> cases.Array:
        return np.full(self.shape, np.nan)

    @property
    def grad(self) -> cases.Array:
        return np.full(self.shape, np.nan)


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("height", [3, 13])
@pytest.mark.parametrize("unit", UNITS)
def test_rows_of_an_earlier_call(device: Device, unit: int, height: int, last: bool) -> None:
    """What a higher map has left in scratch memory adds nothing to a lower one's results."""
    case = Case(unit, shape=(1, 18, height, 11), channels_last=last)
    before = NanCase(unit, shape=(1, 18, 40, 11), channels_last=last)
    before.forward(device)
    assert_close(case.forward(device).numpy(), case.expected(), case.dtype, "output")
    before.backward(device)
    check_backward(device, case)


@pytest.mark.parametrize("last", LAYOUTS)
def test_what_is_not_finite_stays_with_its_neighbours(device: Device, last: bool) -> None:
    """A pixel in the last row meets no tap above the strips' middle, and one gradient of each. The
    last rows are fewer than any processor takes together."""
    case = Case(MULTI_SCALE, shape=(1, 2, 14, 9), channels_last=last)
    values = case.input
    values[0, 0, -1, 4] = np.inf

    class Infinite(Case):
        @property
        def input(self) -> cases.Array:
            return values

    infinite = Infinite(MULTI_SCALE, shape=case.shape, channels_last=last)
    _, weights = infinite.backward(device)
    _, expected = infinite.expected_gradients()
    assert weights is not None
    assert np.array_equal(np.isfinite(weights.numpy()), np.isfinite(expected))


@pytest.mark.parametrize("placement", ["start", "end"])
@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("unit", UNITS)
def test_guard_pages(device: Device, unit: int, last: bool, placement: str) -> None:
    """A tile reads and writes nothing beyond the maps, whatever its tails."""
    device.placement = placement
    for dtype in ("float32", "bfloat16"):
        for channels in (3, 16, 20, 24, 35):
            shape = (1, channels, 5, 11)
            case = Case(unit, shape=shape, dtype=dtype, channels_last=last)
            case.forward(device)
            check_backward(device, case)


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("unit", UNITS)
def test_any_order_of_tasks(device: Device, unit: int, last: bool) -> None:
    """The same bits."""
    case = Case(unit, shape=(1, 20, 5, 270), channels_last=last)
    results = []
    for order in ("forward", "reverse", "random"):
        device.set_order(blocks=order, seed=3)
        gradients = case.backward(device)
        results.append([case.forward(device).raw(), *(g.raw() for g in gradients if g)])
    for other in results[1:]:
        assert all(map(np.array_equal, results[0], other))


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 5, 6, 9), (1, 40, 4, 530)], ids=str)
def test_gelu_over_its_input(device: Device, shape: tuple[int, ...], last: bool) -> None:
    case = Case(GELU, shape=shape, channels_last=last)  # type: ignore[arg-type]
    arguments = case.arguments(device)
    arguments["input"].buffer.set_writable(True)
    device.launch("forward", **arguments, output=arguments["input"])
    expected = case.forward(device)
    assert np.array_equal(arguments["input"].raw(), expected.raw())


@pytest.mark.parametrize("misalignment", [0, 1])
def test_past_the_caches(device: Device, misalignment: int) -> None:
    """A large result in channels_last is streamed, if its lines are aligned, which is asked at one
    place for all units."""
    device.placement, device.misalignment = "start", misalignment
    for unit in UNITS if misalignment == 0 else (GELU,):
        case = Case(unit, shape=(1, 16, 128, 1032), need="input")
        plain, streamed = (
            (each.forward(device), each.backward(device)[0])
            for each in (case, replace(case, channels_last=True))
        )
        for one, other in zip(plain, streamed, strict=True):
            assert one is not None
            assert other is not None
            assert np.array_equal(one.raw(), other.raw())
