"""The 3x3 convolution, against shifted maps times weights in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.cuda_on_cpu.harness.compare import assert_close
from tests.cuda_on_cpu.harness.device import Device, Tensor

Array = NDArray[Any]
PANEL = 16


@dataclass(frozen=True)
class Case:
    """``shape`` is the input's."""

    shape: tuple[int, int, int, int]
    features: int
    biased: bool = True
    bounded: bool = False

    def draw(self, seed: int, *shape: int) -> Array:
        return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

    @property
    def input(self) -> Array:
        return self.draw(0, *self.shape)

    @property
    def weight(self) -> Array:
        channels = self.shape[1]
        return self.draw(1, self.features, channels, 3, 3) / np.float32(3 * max(channels, 1) ** 0.5)

    @property
    def bias(self) -> Array | None:
        return self.draw(2, self.features) if self.biased else None

    def expected(self) -> Array:
        batch, _, height, width = self.shape
        padded = np.pad(self.input.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
        total = np.zeros((batch, self.features, height, width))
        if self.bias is not None:
            total += self.bias[:, None, None]
        for y in range(3):
            for x in range(3):
                window = padded[:, :, y : y + height, x : x + width]
                total += np.einsum("fc,bchw->bfhw", self.weight[:, :, y, x], window)
        return total

    def forward(self, device: Device) -> Tensor:
        batch, channels, height, width = self.shape
        shape = (batch, self.features, height, width)
        output = device.empty("output", shape, "float32", True)
        bias = self.bias
        device.launch(
            "forward",
            batch=batch,
            channels=channels,
            features=self.features,
            height=height,
            width=width,
            input=device.upload("input", self.input, "float32", True),
            packed=device.upload("packed", packed(self.weight), "float32"),
            bias=None if bias is None else device.upload("bias", bias, "float32"),
            output=output,
            bounded=int(self.bounded),
        )
        return output


def packed(weight: Array) -> Array:
    """By Lagrange's interpolation at six points: [36, panels, channels, 16]. A patch of the map
    has its values there divided by nothing, so that the weights are."""
    features, channels = weight.shape[:2]
    points = np.array([0, 0.625, -0.625, 1.5, -1.5])
    transform = np.zeros((6, 3))
    for i, point in enumerate(points):
        others = np.delete(points, i)
        transform[i] = point ** np.arange(3) / np.prod(point - others)
    transform[5, 2] = 1  # at infinity
    at_points = np.einsum("ik,fckl,jl->ijcf", transform, weight.astype(np.float64), transform)
    panels = -(-features // PANEL)
    padded = np.zeros((36, channels, panels * PANEL))
    padded[:, :, :features] = at_points.reshape(36, channels, features)
    return padded.reshape(36, channels, panels, PANEL).transpose(0, 2, 1, 3).astype(np.float32)


# A pixel, tiles with tails, several runs of tiles, also over images, as long as memory lets them
# be; one channel, registers with tails; panels with tails, and more of them than are kept at a
# time.
CASES = [
    Case((1, 1, 1, 1), 1),
    Case((2, 3, 4, 5), 2),
    Case((1, 17, 9, 6), 16),
    Case((3, 16, 12, 8), 17),
    Case((1, 4, 5, 67), 33),
    Case((2, 20, 27, 30), 40),
    Case((1, 33, 8, 9), 70),
    Case((1, 8, 4, 12), 129),
    Case((1, 100, 10, 9), 5),
    Case((1, 100, 60, 61), 5),
]


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(device: Device, case: Case, biased: bool) -> None:
    case = replace(case, biased=biased)
    got = case.forward(device).numpy()
    assert_close(got, case.expected(), "float32", "output")
    bounded = replace(case, bounded=True).forward(device).numpy()
    assert np.array_equal(bounded, got.clip(-0.5, 1.0))


def test_more_channels_than_a_run_has_memory_for(device: Device) -> None:
    case = Case((1, 7300, 3, 5), 2)
    expected = case.expected()
    error = case.forward(device).numpy() - expected
    assert np.linalg.norm(error) < 2e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("placement", ["start", "end"])
@pytest.mark.parametrize("features", [1, 15, 17, 70])
@pytest.mark.parametrize("channels", [1, 3, 16, 19])
def test_guard_pages(device: Device, channels: int, features: int, placement: str) -> None:
    """Nothing beyond the maps is read or written, whatever the tails."""
    device.placement = placement
    for height, width in ((1, 1), (4, 4), (5, 3), (9, 13), (8, 13)):
        case = Case((1, channels, height, width), features)
        assert_close(case.forward(device).numpy(), case.expected(), "float32", "output")


def test_any_order_of_tasks(device: Device) -> None:
    """The same bits."""
    case = Case((2, 19, 33, 40), 70)
    results = []
    for order in ("forward", "reverse", "random"):
        device.set_order(blocks=order, seed=3)
        results.append(case.forward(device).raw())
    assert all(np.array_equal(results[0], other) for other in results[1:])


class Filled(Case):
    value = np.nan

    @property
    def input(self) -> Array:
        return np.full(self.shape, self.value, np.float32)


def test_what_an_earlier_call_has_left(device: Device) -> None:
    """It adds nothing, neither outside the image nor behind the last channel."""
    Filled((1, 70, 40, 41), 70).forward(device)
    for case in CASES:
        assert_close(case.forward(device).numpy(), case.expected(), "float32", "output")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_with_the_tiles_that_read_it(device: Device, value: float) -> None:
    """The results that it belongs to are not finite; bounds keep a NaN."""

    class Spoiled(Case):
        @property
        def input(self) -> Array:
            values = super().input
            values[0, 2, 8, 11] = value
            return values

    shape, features, bounded = (1, 5, 17, 23), 18, bool(np.isnan(value))
    clean = Case(shape, features, bounded=bounded).forward(device).numpy()
    got = Spoiled(shape, features, bounded=bounded).forward(device).numpy()
    assert not np.isfinite(got[..., 7:10, 10:13]).any()
    reads = np.zeros((17, 23), bool)
    reads[4:12, 8:16] = True  # the pixel lies on the edge of two rows of tiles and two columns
    assert np.array_equal(got[..., ~reads], clean[..., ~reads])
