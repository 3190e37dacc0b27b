"""Every __global__ function of the family is executed, in every instantiation; and the dispatch."""

from __future__ import annotations

import re
from dataclasses import replace
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
            Case(MULTI_SCALE, sizes, (1, 2, 3, width), dtype).forward(device)
    assert_all_ran(device, "depthwise")


class Dispatched(Device):
    """Calls what the bindings call, which chooses the launcher by the parameters' types."""

    def call(self, name: str, **arguments: Any) -> int:
        name = re.sub(r"_(bfloat|float)\d+$", "", name)
        return super().call(f"dispatch_{name.removeprefix('dispatch_')}", **arguments)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dispatch(device: Device, dtype: str) -> None:
    dispatched = Dispatched(device.module)
    case = test_multi_scale.case(dtype=dtype)
    test_multi_scale.test_forward(dispatched, case)
    test_multi_scale.test_forward(dispatched, replace(case, sizes=(3, 5, 7)))
