"""Large logits, and weights that are negative, tiny or zero: beside the chain in float32, and as
torch has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from ..harness.device import Device
from . import reference
from .cases import REDUCTIONS, Array, Case


@dataclass(frozen=True)
class Shifted(Case):
    """Logits around `offset`, and weights that are `factor` times as large."""

    offset: float = 0.0
    factor: float = 1.0

    def inputs(self) -> dict[str, Array]:
        values = super().inputs()
        values["logits"] = (values["logits"] + self.offset).astype(self.sums).astype(np.float64)
        values["weight"] = (values["weight"] * self.factor).astype(self.sums).astype(np.float64)
        return values


def worst(got: Array, want: Array) -> float:
    """The largest error, in units of the largest value."""
    return float(np.abs(got - want).max() / np.abs(want).max())


LARGE = [
    Shifted(
        spread=spread,
        offset=offset,
        reduction=reduction,
        batch=1,
        classes=19,
        low=(9, 8),
        high=high,
    )
    for spread, offset in ((100, 0), (1e3, 0), (1e4, 0), (2, 1e4), (2, -1e4), (100, 1e4))
    for reduction in ("mean", "none")
    for high in ((36, 32), (20, 23))
]


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("case", LARGE, ids=lambda case: f"{case}-{case.spread:g}-{case.offset:g}")
def test_no_digits_are_lost_in_large_logits(device: Device, case: Case, weighted: bool) -> None:
    case = Shifted(**{**vars(case), "weighted": weighted, "smoothing_percent": 10 * weighted})
    loss, gradient = case.loss(device)
    want, want_gradient = case.expected()
    eager, eager_gradient = case.expected(np.float32)
    assert worst(loss, want) <= max(2e-7, 1.5 * worst(eager, want))
    assert gradient is not None
    bound = max(5e-7, 1.5 * worst(eager_gradient, want_gradient))
    assert worst(gradient, want_gradient) <= bound


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0, 10])
def test_negative_weights(device: Device, reduction: str, smoothing: int) -> None:
    case = Shifted(
        reduction=reduction, weighted=True, smoothing_percent=smoothing, factor=-1.0, classes=7
    )
    loss, gradient = case.loss(device)
    want, want_gradient = case.expected()
    assert worst(loss, want) <= 2e-7
    assert gradient is not None
    assert worst(gradient, want_gradient) <= 5e-7


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e3])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_float16_keeps_its_digits_whatever_the_size_of_the_weights(
    device: Device, reduction: str, factor: float
) -> None:
    case = Shifted("float16", reduction=reduction, weighted=True, factor=factor)
    _, gradient = case.loss(device)
    _, want = case.expected()
    assert gradient is not None
    # Rounded twice, and where the result itself is small to the type's smallest number.
    assert np.abs(gradient - want).max() <= 1.5 * 2.0**-10 * np.abs(want).max() + 2.0**-25


class Weightless(Case):
    def inputs(self) -> dict[str, Array]:
        values = super().inputs()
        values["weight"][...] = 0
        return values


@pytest.mark.parametrize("smoothing", [0, 10])
def test_the_mean_of_weights_of_zero_is_nan(device: Device, smoothing: int) -> None:
    """And so is its gradient; where no pixel is valid, that is zero."""
    case = Weightless(weighted=True, smoothing_percent=smoothing)
    loss, gradient = case.loss(device)
    assert np.isnan(loss)
    assert np.isnan(gradient).all()
    loss, gradient = Weightless(weighted=True, reduction="sum").loss(device)
    assert loss == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("spread", [1e31, 1e200])
def test_float64_has_its_own_infinity(device: Device, reduction: str, spread: float) -> None:
    case = Case("float64", spread=spread, reduction=reduction, weighted=True, smoothing_percent=10)
    loss, gradient = case.loss(device)
    want, want_gradient = case.expected()
    assert worst(loss, want) <= 1e-13
    assert gradient is not None
    assert worst(gradient, want_gradient) <= 1e-13
    labels, _ = case.argmax(device, False)
    z = reference.upsampled(case.inputs()["logits"], case.high, case.align_corners)
    assert (labels == z.argmax(1)).all()
