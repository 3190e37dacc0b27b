"""Loss, gradient and argmax, against the float64 reference of the CUDA kernels' tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from tests.cuda_on_cpu.classify import reference
from tests.cuda_on_cpu.classify.cases import REDUCTIONS, Areas, Case
from tests.cuda_on_cpu.harness.compare import assert_close
from tests.cuda_on_cpu.harness.device import Device
from tests.cuda_on_cpu.harness.session import KIND

# Ratios that have kernels of their own, any other one up and down; one node, one column, and more
# columns than whole registers have.
SIZES = (
    ((3, 6), (3, 6)),
    ((3, 7), (6, 14)),
    ((3, 5), (12, 20)),
    ((2, 21), (8, 84)),
    ((3, 5), (9, 15)),
    ((3, 5), (24, 40)),
    ((5, 9), (9, 5)),
    ((9, 5), (5, 9)),
    ((1, 1), (1, 1)),
    ((1, 1), (3, 5)),
    ((5, 1), (10, 2)),
    ((5, 1), (3, 1)),
    ((1, 1003), (1, 1003)),
    ((1, 1003), (2, 2006)),
)
CASES = [
    *(
        Case(
            dtype,
            channels_last,
            batch=1 + (low[1] < 100),
            classes=3,
            low=low,
            high=high,
            reduction="sum" if high == (1, 1) else "mean",
            target_type=target_type,
        )
        for low, high in SIZES
        for dtype, channels_last, target_type in (
            ("float32", False, "uint8"),
            ("float32", True, "int64"),
            ("float16", False, "int64"),
            ("float16", True, "uint8"),
        )
    ),
    *(Case(reduction=r, smoothing_percent=10, weighted=True, high=(8, 12)) for r in REDUCTIONS),
    *(Case(reduction="none", low=low, high=high) for low, high in SIZES[:8]),
    Case(align_corners=True),
    # Several strips of columns and bands of rows, whose halves of a cell count once.
    *(
        Case(batch=1, classes=classes, low=low, high=high, reduction="sum")
        for classes, low, factor in ((700, (3, 40), 2), (3, (70, 4), 2), (3, (70, 4), 4))
        for high in ((low[0] * factor, low[1] * factor), (low[0] * factor + 1, low[1] * factor))
    ),
    # Registers of cells that all have one label; in the first row and strip, and where they are
    # another task's, too.
    *(
        Areas(classes=classes, low=low, high=high, weighted=weighted, reduction=reduction, area=40)
        for classes, low, factor in ((3, (3, 60), 2), (3, (40, 45), 3), (700, (2, 45), 4))
        for high in ((low[0] * factor, low[1] * factor),)
        for weighted, reduction in ((False, "sum"), (False, "mean"), (True, "mean"))
    ),
    # Whole registers of cells of eight pixels, of one label and smoothed; halves of a cell that
    # count once, smoothed.
    Case(classes=3, low=(2, 45), high=(16, 360)),
    Areas(classes=3, low=(3, 60), high=(24, 480), area=40, weighted=True, smoothing_percent=10),
    *(
        Case(batch=1, classes=3, low=(70, 4), high=high, reduction="sum", smoothing_percent=10)
        for high in ((140, 8), (140, 9))
    ),
    # A cell's rows in two tiles.
    Case(classes=3, low=(2, 9), high=(24, 36)),
    # The most classes whose values are kept, and one more.
    *(
        Case(batch=1, classes=classes, low=(3, 9), high=(3 * ratio, 9 * ratio))
        for classes in (63, 64)
        for ratio in (2, 3, 8)
    ),
]


def check_loss(device: Device, case: Case) -> None:
    loss, gradient = case.loss(device)
    want, want_gradient = case.expected()
    assert gradient is not None
    assert_close(np.atleast_1d(loss), np.atleast_1d(want), case.sums, "loss")
    if case.dtype == "float16":
        # Rounded twice: what is kept, and what is scaled.
        error = np.abs(gradient - want_gradient).max()
        assert error <= 1.5 * 2.0**-10 * np.abs(want_gradient).max() + 2.0**-24
    else:
        assert_close(gradient, want_gradient, case.dtype, "gradient")


def check_argmax(device: Device, case: Case, confident: bool) -> None:
    labels, confidence = case.argmax(device, confident)
    z = reference.upsampled(case.inputs()["logits"], case.high, case.align_corners)
    chosen = np.take_along_axis(z, labels[:, None].astype(np.int64), 1)[:, 0]
    assert (z.max(1) - chosen).max() <= 1e-5 * np.abs(z).max()
    if confidence is not None:
        want = 1 / np.exp(z - z.max(1, keepdims=True)).sum(1)
        assert np.abs(confidence - want).max() <= 2e-6


@pytest.mark.parametrize("case", CASES, ids=str)
def test_between_guard_pages(device: Device, case: Case) -> None:
    for placement in ("start", "end"):
        device.placement = placement
        check_loss(device, case)
        check_argmax(device, case, confident=placement == "end")


@pytest.mark.parametrize("classes", [3, 64])
@pytest.mark.parametrize("high", [(12, 36), (13, 35)], ids=str)
def test_a_loss_needs_no_gradient(device: Device, classes: int, high: tuple[int, int]) -> None:
    """It has the same bits."""
    case = Case(classes=classes, low=(3, 9), high=high)
    loss, _ = case.loss(device)
    alone, gradient = case.loss(device, differentiated=False)
    assert gradient is None
    assert np.array_equal(alone, loss)


@dataclass(frozen=True)
class Spikes(Case):
    """In each map one node, another one in every map, is of the other class; where ``dips``, the
    first class is small there, and elsewhere far above it."""

    dips: bool = False

    def inputs(self) -> dict[str, np.ndarray]:
        values = super().inputs()
        logits = np.full_like(values["logits"], -20 if self.dips else 0)
        logits[:, 0], logits[:, 1] = (5, -9) if self.dips else (1, 0)
        for number in range(self.batch):
            for label, value in enumerate((-5, 0) if self.dips else (1, 9)):
                logits[number, label].flat[number] = value
        return values | {"logits": logits}


@pytest.mark.parametrize("dips", [False, True])
@pytest.mark.parametrize("high", [(24, 160), (25, 160)], ids=str)
def test_a_class_that_wins_in_one_corner(device: Device, high: tuple[int, int], dips: bool) -> None:
    """It must not be dropped, whichever corner of a cell and lane of a register it is."""
    case = Spikes(batch=60, classes=4, low=(3, 20), high=high, dips=dips)
    check_argmax(device, case, confident=False)


@pytest.mark.skipif(KIND == "asan", reason="the sanitizer watches the allocator's memory")
def test_tables_are_between_guard_pages(device: Device) -> None:
    before = device.call("guarded_allocations")
    Case().loss(device)
    assert device.call("guarded_allocations") >= before + 4


def test_any_order_of_tasks(device: Device) -> None:
    """The same bits."""
    for reduction in REDUCTIONS:
        case = Case(reduction=reduction, batch=3, low=(20, 9), high=(40, 18))
        results = []
        for order in ("forward", "reverse", "random"):
            device.set_order(blocks=order, seed=3)
            results.append([*case.loss(device), *case.argmax(device, True)])
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                assert a is not None
                assert b is not None
                assert np.array_equal(a, b)


class Wrong(Case):
    def inputs(self) -> dict[str, np.ndarray]:
        values = super().inputs()
        values["target"][1, 5, 5] = self.classes
        return values


@pytest.mark.parametrize("target_type", ["uint8", "int64"])
def test_a_label_that_is_no_class(device: Device, target_type: str) -> None:
    case = replace(Wrong(), target_type=target_type)
    with pytest.raises(RuntimeError, match=r"got 5 at \[1, 5, 5\]"):
        case.loss(device)
