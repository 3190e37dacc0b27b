"""Eq. 3 and its gradients on the executed kernels, against the float64 reference."""

from __future__ import annotations

import pytest

from ..harness.compare import assert_close
from ..harness.device import DTYPES, Device
from . import reference
from .cases import Aggregate

# Result fp64 exactly where an input is.
TYPES = [
    ("float64" if "float64" in (offset, mask) else "float32", offset, mask)
    for offset in DTYPES
    for mask in DTYPES
]
SIZES = [(1, 1, 1), (1, 5, 3), (2, 9, 35), (3, 4, 32), (1, 13, 67), (2, 1, 33), (1, 31, 1)]

CASES = [
    *(Aggregate(1, 6, 23, *types, logits=True) for types in TYPES),
    *(Aggregate(*size, logits=logits) for size in SIZES for logits in (False, True)),
    *(
        Aggregate(dtype=dtype, offset_dtype=dtype, index64=True, logits=logits)
        for dtype in ("float32", "float64")
        for logits in (False, True)
    ),
    # exp() of such logits is infinite.
    *(
        Aggregate(dtype=dtype, offset_dtype=dtype, logits=True, mask_scale=scale)
        for dtype, scale in (("float32", 100.0), ("float64", 1000.0))
    ),
    Aggregate(3, 17, 41, max_blocks=2),
    Aggregate(3, 17, 41, max_blocks=1, index64=True, logits=True),
]


def name(case: Aggregate) -> str:
    parts = [f"{case.batch}x{case.height}x{case.width}", case.offset_dtype, case.mask_dtype]
    parts += ["logits"] * case.logits + ["int64"] * case.index64
    parts += ["large"] * (case.mask_scale > 10) + [f"blocks{case.max_blocks}"] * (
        case.max_blocks > 0
    )
    return "-".join(parts)


@pytest.mark.parametrize("case", CASES, ids=name)
def test_forward(device: Device, case: Aggregate) -> None:
    values = case.inputs()
    expected = reference.aggregate(values["offset"], values["mask"], case.logits)
    assert_close(case.forward(device).numpy(), expected, case.dtype)


@pytest.mark.parametrize("case", CASES, ids=name)
def test_backward(device: Device, case: Aggregate) -> None:
    values = case.inputs()
    grad_offset, grad_mask = case.backward(device)
    expected = reference.aggregate_gradients(
        values["offset"], values["mask"], values["grad"], case.logits
    )
    for got, wanted in zip((grad_offset, grad_mask), expected, strict=True):
        assert got is not None
        # Computed in the result's type, and rounded to the operand's own.
        assert_close(got.numpy(), wanted, got.dtype)


@pytest.mark.parametrize("index64", [False, True])
def test_unwanted_gradients_are_left_alone(device: Device, index64: bool) -> None:
    case = Aggregate(index64=index64, logits=True)
    both = [tensor.numpy() for tensor in case.backward(device) if tensor is not None]
    only_offset, nothing = case.backward(device, want_mask=False)
    assert nothing is None
    assert only_offset is not None
    assert (only_offset.numpy() == both[0]).all()
    nothing, only_mask = case.backward(device, want_offset=False)
    assert only_mask is not None
    assert (only_mask.numpy() == both[1]).all()


def test_empty_batch_launches_nothing(device: Device) -> None:
    device.module.take_records()
    case = Aggregate(batch=0)
    case.forward(device)
    case.backward(device)
    assert device.module.take_records() == []
