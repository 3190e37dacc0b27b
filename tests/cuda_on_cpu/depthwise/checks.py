"""What holds of every unit's kernels, whatever the case."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from ..harness.compare import assert_close
from ..harness.device import Device
from .cases import Case

AnyCase = TypeVar("AnyCase", bound=Case)


def check_forward(device: Device, case: Case) -> None:
    assert_close(case.forward(device).numpy(), case.expected(), case.dtype, "output")


def check_backward(device: Device, case: Case) -> None:
    """The gradients that are asked for, and no others."""
    want_input, want_weights = case.expected_gradients()
    grad_input, grad_weights = case.backward(device)
    assert (grad_input is not None) == (case.need != "weights")
    assert (grad_weights is not None) == (case.need != "input")
    if grad_input is not None:
        assert_close(grad_input.numpy(), want_input, case.dtype, "grad_input")
    if grad_weights is not None:
        assert_close(grad_weights.numpy(), want_weights, case.weight_dtype, "grad_weights")


def check_one_gradient(device: Device, case: AnyCase, need: str) -> None:
    """The same bits as with the other one, and no sums in the workspace that nobody reads."""
    alone = replace(case, need=need)
    check_backward(device, alone)
    before = device.workspace_bytes
    both = case.backward(device)
    between = device.workspace_bytes
    for got, wanted in zip(alone.backward(device), both, strict=True):
        assert wanted is not None
        assert got is None or np.array_equal(got.raw(), wanted.raw())
    saved = (between - before) - (device.workspace_bytes - between)
    assert saved > 0 if need == "input" else saved == 0


def check_any_order(device: Device, case: AnyCase, order: str) -> None:
    """The order of threads and blocks changes no bit, nor does the number of blocks."""
    device.set_order()
    first = [case.forward(device), *case.backward(device)]
    device.set_order(order, order, seed=3)
    other = replace(case, max_blocks=3)
    for a, b in zip(first, [other.forward(device), *other.backward(device)], strict=True):
        assert a is not None
        assert b is not None
        assert np.array_equal(a.raw(), b.raw())


def check_no_images(device: Device, case: Case) -> None:
    """Nothing is launched: a grid of no blocks is an error."""
    device.module.take_records()
    case.forward(device)
    case.backward(device)
    assert device.module.take_records() == []
