"""Eq. 3 and its gradients, against the float64 reference."""

from __future__ import annotations

import pytest

from tests.cuda_on_cpu.harness.compare import assert_close
from tests.cuda_on_cpu.harness.device import DTYPES, Device
from tests.cuda_on_cpu.srm import reference
from tests.cuda_on_cpu.srm.cases import Aggregate

# One pixel, less than a register, a chunk and more, bands of rows that are full and not.
SIZES = [(1, 1, 1), (2, 5, 3), (1, 17, 67), (2, 32, 8), (1, 1, 130), (3, 33, 1)]
TYPES = [*zip(DTYPES, DTYPES, strict=True), ("float64", "float16"), ("float16", "float64")]
DOUBLE = ("float64",) * 3
CASES = [
    *(Aggregate(*size, logits=logits) for size in SIZES for logits in (False, True)),
    *(
        Aggregate(1, 4, 21, "float64" if "float64" in pair else "float32", *pair, logits=True)
        for pair in TYPES
    ),
    # exp() of such logits is infinite.
    Aggregate(logits=True, mask_scale=100.0),
    Aggregate(2, 9, 35, *DOUBLE, logits=True, mask_scale=1000.0),
]


def name(case: Aggregate) -> str:
    sizes = f"{case.batch}x{case.height}x{case.width}"
    return f"{sizes}-{case.offset_dtype}-{case.mask_dtype}" + "-logits" * case.logits


def check(device: Device, case: Aggregate) -> None:
    values = case.inputs()
    expected = reference.aggregate(values["offset"], values["mask"], case.logits)
    assert_close(case.forward(device).numpy(), expected, case.dtype)
    wanted = reference.aggregate_gradients(
        values["offset"], values["mask"], values["grad"], case.logits
    )
    for got, want in zip(case.backward(device), wanted, strict=True):
        assert got is not None
        assert_close(got.numpy(), want, got.dtype)


@pytest.mark.parametrize("case", CASES, ids=name)
def test_values_and_gradients(device: Device, case: Aggregate) -> None:
    check(device, case)


@pytest.mark.parametrize("placement", ["start", "end"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_guard_pages(device: Device, dtype: str, placement: str) -> None:
    device.placement = placement
    wide = "float64" if dtype == "float64" else "float32"
    for size in ((1, 17, 65), (2, 3, 7), (1, 2, 64)):
        check(device, Aggregate(*size, wide, dtype, dtype, logits=True))


def test_unwanted_gradients(device: Device) -> None:
    case = Aggregate(logits=True)
    both = [tensor.numpy() for tensor in case.backward(device) if tensor is not None]
    for n, want in enumerate(({"want_mask": False}, {"want_offset": False})):
        alone = case.backward(device, **want)
        assert alone[1 - n] is None
        assert alone[n] is not None
        assert (alone[n].numpy() == both[n]).all()


@pytest.mark.parametrize("order", ["reverse", "random"])
def test_tasks_in_any_order(device: Device, order: str) -> None:
    case = Aggregate(2, 40, 70, logits=True)
    expected = [case.forward(device).raw(), *(t.raw() for t in case.backward(device) if t)]
    device.set_order(blocks=order, seed=3)
    found = [case.forward(device).raw(), *(t.raw() for t in case.backward(device) if t)]
    assert all((a == b).all() for a, b in zip(expected, found, strict=True))
