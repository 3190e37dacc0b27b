"""Every __global__ function of the family is executed, in every instantiation; and the dispatch."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ..harness.coverage import assert_all_ran
from ..harness.device import DTYPES, Device
from . import test_multi_scale
from .reference import MULTI_SCALE
from .test_multi_scale import Case


def test_every_instantiation_runs(device: Device) -> None:
    device.module.take_records()
    for dtype in DTYPES:
        # Narrow, wide, and with strips of other lengths.
        for width, sizes in ((5, ()), (40, ()), (5, (3, 5, 7))):
            case = Case(MULTI_SCALE, sizes, (1, 2, 3, width), dtype)
            case.forward(device)
            case.backward(device)
    assert_all_ran(device, "depthwise")


class Dispatched(Device):
    """Calls what the bindings call, which chooses the launcher by the parameters' types."""

    def call(self, name: str, **arguments: Any) -> int:
        return super().call(f"dispatch_{re.sub(r'_(bfloat|float)[0-9]+$', '', name)}", **arguments)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dispatch(device: Device, dtype: str) -> None:
    dispatched = Dispatched(device.module)
    for sizes in ((), (3, 5, 7)):
        case = test_multi_scale.case(dtype=dtype, sizes=sizes)
        test_multi_scale.test_forward(dispatched, case)
        test_multi_scale.check_backward(dispatched, case)
