"""Loss, gradient and argmax of the executed kernels, against the float64 reference."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from ..harness.compare import assert_close
from ..harness.device import DTYPES, Device
from . import reference
from .cases import REDUCTIONS, TARGETS, Areas, Case

CASES = [
    *(
        Case(dtype, last, reduction=reduction, weighted=last, smoothing_percent=10 * last)
        for dtype in DTYPES
        for last in (False, True)
        for reduction in REDUCTIONS
    ),
    *(Case(target_type=kind, high=(13, 21)) for kind in TARGETS),
    *(Case(reduction=r, smoothing_percent=20, weighted=True) for r in REDUCTIONS),
    # Other ratios, down, equal, one pixel; more nodes than a strip and a band have.
    *(
        Case(batch=1, classes=classes, low=low, high=high, reduction=reduction)
        for classes, low, high, reduction in (
            (1, (1, 1), (1, 1), "sum"),
            (3, (1, 1), (7, 11), "mean"),
            (2, (3, 3), (5, 5), "mean"),
            (9, (5, 7), (5, 7), "none"),
            (6, (9, 8), (4, 3), "mean"),
            (4, (18, 3), (23, 40), "mean"),
            (7, (2, 66), (3, 70), "none"),
            (3, (33, 32), (34, 33), "sum"),
        )
    ),
    # More classes than a warp sums at once, in groups that are not full.
    *(
        Case(dtype, batch=1, classes=classes, high=high, weighted=True, smoothing_percent=smooth)
        for dtype, classes, high, smooth in (
            ("float32", 41, (16, 24), 10),
            ("float32", 23, (5, 7), 0),
            ("float32", 300, (5, 7), 0),
            ("float64", 11, (16, 24), 10),
        )
    ),
    # Classes that are no label near, and labels that are.
    *(
        Areas(dtype, last, 1, classes=7, low=(4, 40), high=high, reduction=reduction, area=5)
        for dtype, last, high, reduction in (
            ("float32", False, (16, 160), "mean"),
            ("float32", True, (8, 80), "none"),
            ("float32", False, (18, 150), "none"),
            ("float16", False, (16, 160), "sum"),
            ("float64", False, (16, 160), "mean"),
        )
    ),
    *(Case(align_corners=True, high=high) for high in ((16, 24), (3, 5), (1, 1))),
    Case(max_blocks=1, batch=3, reduction="none"),
    Case(max_blocks=2, batch=3),
    Case(spread=100.0, reduction="sum"),
    Case("float64", spread=300.0),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_and_gradient(device: Device, case: Case) -> None:
    loss, gradient = case.loss(device)
    want, want_gradient = case.expected()
    if case.classes == 1:
        assert np.abs(loss).max() <= 1e-6
        assert gradient is not None
        assert np.abs(gradient).max() <= 1e-6
        return
    assert_close(np.atleast_1d(loss), np.atleast_1d(want), case.sums, "loss")
    assert gradient is not None
    if case.dtype in ("float16", "bfloat16") and case.reduction != "none":
        # Rounded twice: what is kept, and what is scaled.
        bound = 1.5 * 2.0 ** (-10 if case.dtype == "float16" else -7)
        assert np.abs(gradient - want_gradient).max() <= bound * np.abs(want_gradient).max()
        return
    assert_close(gradient, want_gradient, case.dtype, "gradient")


@pytest.mark.parametrize("confident", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_argmax(device: Device, case: Case, confident: bool) -> None:
    labels, confidence = case.argmax(device, confident)
    z = reference.upsampled(case.inputs()["logits"], case.high, case.align_corners)
    chosen = np.take_along_axis(z, labels[:, None].astype(np.int64), 1)[:, 0]
    assert (z.max(1) - chosen).max() <= 1e-5 * np.abs(z).max()
    if confidence is not None:
        want = 1 / np.exp(z - z.max(1, keepdims=True)).sum(1)
        assert np.abs(confidence - want).max() <= 1e-6 * max(1, case.spread)


def test_the_same_labels_with_and_without_confidence(device: Device) -> None:
    """Where classes differ by what rounding adds: one that is passed over is the best of no pixel,
    as it is computed."""

    class Close(Case):
        def inputs(self) -> dict[str, np.ndarray]:
            values = super().inputs()
            steps = np.random.default_rng(3).integers(-1, 2, values["logits"].shape)
            one = np.spacing(np.float32(7.3)).astype(np.float64)
            values["logits"] = np.float64(np.float32(-7.3)) + one * steps
            return values

    case = Close(batch=1, classes=25, low=(40, 40), high=(61, 53))
    assert (case.argmax(device, False)[0] == case.argmax(device, True)[0]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_maps_that_do_not_begin_at_16_bytes(device: Device, dtype: str) -> None:
    device.misalignment = 1
    test_loss_and_gradient(device, Case(dtype, classes=3, low=(3, 5), high=(7, 11)))


def test_nothing_valid(device: Device) -> None:
    class Ignored(Case):
        def inputs(self) -> dict[str, np.ndarray]:
            values = super().inputs()
            values["target"][...] = self.ignore_index
            return values

    loss, gradient = Ignored().loss(device)
    assert np.isnan(loss)
    assert gradient is not None
    assert (gradient == 0).all()


def test_ignored_pixels_take_nothing_of_nan(device: Device) -> None:
    @dataclass(frozen=True)
    class Hidden(Areas):
        lost: int = 0  # the class

        def inputs(self) -> dict[str, np.ndarray]:
            values = super().inputs()
            values["logits"][0, self.lost, 0, 0] = np.nan
            values["target"][0, :6, :6] = self.ignore_index
            return values

    for reduction, lost in itertools.product(REDUCTIONS, (0, 2)):
        case = Hidden(reduction=reduction, classes=7, lost=lost)
        loss, gradient = case.loss(device)
        assert gradient is not None
        assert np.isfinite(loss).all()
        assert np.isfinite(gradient).all()
        assert (gradient[0, :, 0, 0] == 0).all()
        assert (gradient[0, :, 2:] != 0).all()


def test_no_softmax_where_every_class_is_minus_infinity(device: Device) -> None:
    class Masked(Case):
        def inputs(self) -> dict[str, np.ndarray]:
            values = super().inputs()
            values["logits"][0, :, 1:3] = -np.inf
            values["target"][...] = np.arange(self.high[1]) % 2
            return values

    for reduction in REDUCTIONS:
        case = Masked(reduction=reduction, low=(5, 4), high=(5, 4))
        loss, gradient = case.loss(device)
        assert np.isnan(loss).any()
        assert gradient is not None
        assert np.isnan(gradient[0, :, 1:3]).all()
        assert np.isfinite(gradient[1]).all()
        _, confidence = case.argmax(device, True)
        assert confidence is not None
        assert np.isnan(confidence[0, 1:3]).all()
        assert np.isfinite(confidence[1]).all()


def test_labels_that_are_no_class_make_nan(device: Device) -> None:
    class Wrong(Case):
        def inputs(self) -> dict[str, np.ndarray]:
            values = super().inputs()
            values["target"][1, 5, 5] = self.classes
            return values

    for reduction in REDUCTIONS:
        loss, gradient = Wrong(reduction=reduction).loss(device)
        assert gradient is not None
        assert np.isnan(gradient[1]).any()
        assert np.isfinite(gradient[0]).all()
        assert np.isnan(loss).sum() == 1


@pytest.mark.parametrize("order", ["reverse", "random"])
def test_the_order_of_threads_and_blocks_changes_nothing(device: Device, order: str) -> None:
    for reduction in REDUCTIONS:
        case = Case(reduction=reduction, batch=3, low=(9, 35), high=(20, 70))
        device.set_order()
        first = case.loss(device)
        device.set_order(order, order, seed=3)
        for a, b in zip(first, case.loss(device), strict=True):
            assert np.array_equal(a, b)
