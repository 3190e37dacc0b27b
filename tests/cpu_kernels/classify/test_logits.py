"""Upsampled logits, against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cuda_on_cpu.classify import reference
from tests.cuda_on_cpu.classify.cases import Array, Case
from tests.cuda_on_cpu.harness.compare import assert_close
from tests.cuda_on_cpu.harness.device import Device

from .test_loss import SIZES

# Beyond those of the loss: strips of columns and bands of rows, many classes and one, and columns
# that are far apart in the logits.
WIDE = (
    (1, (2, 9), (7000, 23)),
    (1, (2, 700), (5, 40000)),
    (2500, (2, 9), (3, 40)),
    (40000, (2, 5), (3, 7)),
    (3, (4, 5000), (3, 40)),
)
CASES = [
    *(
        Case(dtype, last, batch=1 + (low[1] < 100), classes=classes, low=low, high=high)
        for low, high in SIZES
        for classes in (3, 19)
        for dtype in ("float32", "float64", "float16", "bfloat16")
        for last in (False, True)
    ),
    *(
        Case("float32", last, batch=1, classes=classes, low=low, high=high, align_corners=align)
        for classes, low, high in WIDE
        for last in (False, True)
        for align in (False, True)
    ),
]


def upsampled(device: Device, case: Case, values: Array) -> Array:
    logits = device.upload("logits", values, case.dtype, case.channels_last)
    shape = (case.batch, case.classes, *case.high)
    output = device.empty("output", shape, case.dtype, case.channels_last)
    device.launch(f"upsample_{case.dtype}", **case.shape_arguments(), logits=logits, output=output)
    return output.numpy()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_upsampled_logits(device: Device, case: Case) -> None:
    values = case.inputs()["logits"]
    want = reference.upsampled(values, case.high, case.align_corners)
    assert_close(upsampled(device, case, values), want, case.dtype, "logits")


@pytest.mark.parametrize("last", [False, True])
def test_only_neighbours_with_a_share_count(device: Device, last: bool) -> None:
    """In a map of the same size none does."""
    case = Case(channels_last=last, low=(5, 37), high=(5, 37))
    values = case.inputs()["logits"]
    values[:, :, 2, 20], values[:, 1, 4, 36] = np.inf, np.nan
    np.testing.assert_array_equal(upsampled(device, case, values), values)
