"""Inputs of more than 2^31 elements, of which only the pages that are sampled take memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ..harness.device import Device, Tensor
from ..harness.session import KIND
from .cases import Sample

pytestmark = pytest.mark.skipif(KIND != "plain", reason="sanitizers keep shadows of the memory")

Array = NDArray[Any]
CORNER = 6

# One image that 32 bits cannot index, and images that they can but not all together.
CASES = [
    Sample(batch=1, channels=1, in_size=(65536, 32769)),
    Sample(batch=1, channels=33, in_size=(8192, 8193), channels_last=True),
    Sample(batch=3, channels=1, in_size=(32768, 32769)),
    Sample(batch=3, channels=31, in_size=(5792, 5791), channels_last=True),
]


def name(case: Sample) -> str:
    return ("last" if case.channels_last else "nchw") + f"-{case.batch}"


class Far:
    """A case whose points lie in the last corner of the last image, where alone it is not zero."""

    def __init__(self, device: Device, case: Sample) -> None:
        self.case = case = case.but(
            dtype="float64", offset_dtype="float64", upsample=False, out_size=(3, 5)
        )
        assert case.batch * case.channels * np.prod(case.in_size, dtype=np.int64) > 2**31
        rng = np.random.default_rng(0)
        self.corner = rng.standard_normal((case.channels, CORNER, CORNER))
        shape = (case.batch, case.channels, *case.in_size)
        count = int(np.prod(shape, dtype=np.int64))
        buffer = device.module.Buffer("input", count * 8, "end", 0, sparse=True)
        self.input = Tensor(buffer, shape, "float64", case.channels_last)
        self.input.raw()[-1, :, -CORNER:, -CORNER:] = self.corner
        buffer.set_writable(False)
        # Where to sample, within the corner; some behind the border.
        self.points = rng.uniform(0, CORNER - 0.1, (2, *case.out_size))
        self.offset = np.zeros((case.batch, 2, *case.out_size))
        self.slope = np.array([case.in_size[1] / 5, case.in_size[0] / 3])
        for dim, (inner, outer) in enumerate(((5, case.in_size[1]), (3, case.in_size[0]))):
            index = np.arange(inner)
            at = (index + 0.5) * outer / inner - 0.5
            at = at[None, :] if dim == 0 else at[:, None]
            self.offset[-1, dim] = (self.points[dim] + outer - CORNER - at) / self.slope[dim]
        self.grad = rng.standard_normal((case.batch, case.channels, *case.out_size))

    def expected(self) -> tuple[Array, Array]:
        """Output and its derivatives by x and y for each channel of the last image."""
        padded = np.pad(self.corner, ((0, 0), (0, 2), (0, 2)))
        x, y = self.points
        x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
        fx, fy = x - x0, y - y0
        a, b = padded[:, y0, x0], padded[:, y0, x0 + 1]
        c, d = padded[:, y0 + 1, x0], padded[:, y0 + 1, x0 + 1]
        output = (1 - fy) * ((1 - fx) * a + fx * b) + fy * ((1 - fx) * c + fx * d)
        by_x = (1 - fy) * (b - a) + fy * (d - c)
        by_y = (1 - fx) * (c - a) + fx * (d - b)
        return output, np.stack([by_x * self.slope[0], by_y * self.slope[1]])

    def arguments(self, device: Device) -> dict[str, Any]:
        return {
            **self.case.arguments(),
            "input": self.input,
            "offset": device.upload("offset", self.offset, "float64"),
        }


@pytest.mark.parametrize("case", CASES, ids=name)
def test_forward(device: Device, case: Sample) -> None:
    far = Far(device, case)
    shape = (case.batch, case.channels, *far.case.out_size)
    output = device.empty("output", shape, "float64", case.channels_last)
    device.launch(
        "sample_forward_float64",
        **far.arguments(device),
        mask_dtype="float32",
        logits=False,
        mask=None,
        skip=None,
        output=output,
        aggregated=None,
    )
    # A coordinate near 2^16 keeps twelve digits of the fraction.
    expected, _ = far.expected()
    error = np.abs(output.numpy()[-1] - expected).max()
    assert error < 1e-9
    assert (output.numpy()[:-1] == 0).all()


@pytest.mark.parametrize("case", CASES, ids=name)
def test_gradient_of_the_offset(device: Device, case: Sample) -> None:
    far = Far(device, case)
    grad_offset = device.empty("grad_offset", far.offset.shape, "float64")
    device.launch(
        "sample_backward_float64",
        **far.arguments(device),
        deterministic=False,
        grad_output=device.upload("grad_output", far.grad, "float64", case.channels_last),
        grad_input=None,
        grad_offset=grad_offset,
        workspace=None,
    )
    _, slopes = far.expected()
    expected = np.einsum("cyx,dcyx->dyx", far.grad[-1], slopes)
    assert np.abs(grad_offset.numpy()[-1] - expected).max() < 1e-9 * np.abs(expected).max()
    assert (grad_offset.numpy()[:-1] == 0).all()
