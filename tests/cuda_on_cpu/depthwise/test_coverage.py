"""Every __global__ function of the family is executed, in every instantiation; and the dispatch."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ..harness.coverage import assert_all_ran
from ..harness.device import DTYPES, Device
from . import test_gelu, test_large_kernel, test_multi_scale
from .checks import check_backward, check_forward
from .reference import MULTI_SCALE
from .test_multi_scale import Case
from .untyped import gelu, large_kernel


def test_every_instantiation_runs(device: Device) -> None:
    device.module.take_records()
    for dtype in DTYPES:
        # Narrow, wide, and with strips of other lengths.
        for width, sizes in ((5, ()), (40, ()), (5, (3, 5, 7))):
            case = Case(MULTI_SCALE, sizes, (1, 2, 3, width), dtype)
            case.forward(device)
            case.backward(device)
        for last in (False, True):
            for case in (
                large_kernel((1, 2, 3, 5), dtype=dtype, channels_last=last),
                large_kernel((1, 2, 3, 5), dtype=dtype, channels_last=last, sizes=(2,)),
                gelu((1, 4, 3, 4), dtype=dtype, channels_last=last),
                gelu((1, 3, 3, 5), dtype=dtype, channels_last=last),
                gelu((1, 3, 3, 5), dtype=dtype, channels_last=last, sizes=(5,)),
            ):
                case.forward(device)
                case.backward(device)
    test_large_kernel.WIDE.forward(device)
    gelu((1, 1, 70, 5)).over_input(device)
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
        check_forward(dispatched, case)
        check_backward(dispatched, case)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dispatch_of_the_others(device: Device, dtype: str) -> None:
    """Those that find the types by themselves."""
    case = large_kernel(dtype=dtype, dispatched=True)
    check_forward(device, case)
    check_backward(device, case)
    for shape in ((1, 4, 5, 8), (1, 3, 5, 7)):
        case = gelu(shape, dtype=dtype, dispatched=True)
        check_forward(device, case)
        test_gelu.test_over_the_input(device, case)
        check_backward(device, case)
