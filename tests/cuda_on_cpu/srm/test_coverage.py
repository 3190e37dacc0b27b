"""Every __global__ function of SRM is executed, in every instantiation; and so is the dispatch."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest

from ..harness.coverage import assert_all_ran
from ..harness.device import DTYPES, Device
from . import test_aggregate, test_backward, test_forward
from .cases import Aggregate, Sample

BOTH = (False, True)
AGGREGATES = [
    Aggregate(2, 5, 37, dtype, dtype, dtype, logits=True, index64=index64)
    for dtype in ("float32", "float64")
    for index64 in BOTH
]
# More than the 256 pixels of a unit.
SAMPLES = [
    Sample(dtype, last, index64, channels=5, out_size=(17, 19), deterministic=mode)
    for dtype in DTYPES
    for last in BOTH
    for index64 in BOTH
    for mode in BOTH
]


def test_every_instantiation_runs(device: Device) -> None:
    device.module.take_records()
    for case in AGGREGATES:
        case.forward(device)
        case.backward(device)
    for case in SAMPLES:
        if not case.deterministic:
            case.forward(device)
        case.backward(device)
    ran = assert_all_ran(device, "srm")
    for features in ("float", "double", "__half", "__nv_bfloat16"):
        for index in ("int", "long"):
            assert f"backward_window_kernel<{features}, {index}>" in ran


class Dispatched(Device):
    """Calls what the bindings call, which chooses the launcher by the parameters' types."""

    def call(self, name: str, **arguments: Any) -> int:
        name = re.sub(r"_(bfloat|float)\d+$", "", name)
        return super().call(f"dispatch_{name}", **arguments)


@pytest.fixture
def dispatched(device: Device) -> Dispatched:
    return Dispatched(device.module)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_aggregate_by_dispatch(dispatched: Dispatched, dtype: str) -> None:
    case = Aggregate(2, 5, 37, dtype, dtype, "float32", logits=True)
    test_aggregate.test_forward(dispatched, case)
    test_aggregate.test_backward(dispatched, case)


@pytest.mark.parametrize(("dtype", "last"), list(product(DTYPES, BOTH)))
def test_sample_by_dispatch(dispatched: Dispatched, dtype: str, last: bool) -> None:
    test_forward.check(dispatched, Sample(dtype, last, mask="logits", skip=True))
    for mode in BOTH:
        test_backward.check(dispatched, Sample(dtype, last, deterministic=mode))
