"""Every __global__ function of the family is executed, in every instantiation; and the dispatch."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from ..harness.coverage import assert_all_ran
from ..harness.device import DTYPES, Device
from . import test_kernels
from .cases import Case


def test_every_instantiation_runs(device: Device) -> None:
    device.module.take_records()
    for dtype in DTYPES:
        case = Case(dtype, low=(2, 3), high=(5, 6), batch=1)
        case.loss(device)
        replace(case, high=(5, 7)).loss(device)
        for confident in (False, True):
            case.argmax(device, confident)
    assert_all_ran(device, "classify")


class Dispatched(Device):
    """Calls what the bindings call, which chooses the launcher by the parameters' types."""

    def call(self, name: str, **arguments: Any) -> int:
        name = re.sub(r"_(bfloat|float)\d+$", "", name)
        return super().call(f"dispatch_{name.removeprefix('dispatch_')}", **arguments)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dispatch(device: Device, dtype: str, reduction: str) -> None:
    dispatched = Dispatched(device.module)
    case = Case(dtype, reduction=reduction)
    test_kernels.test_loss_and_gradient(dispatched, case)
    test_kernels.test_argmax(dispatched, case, True)
