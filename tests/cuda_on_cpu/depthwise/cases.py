"""A call of one of the executed kernels, and its inputs; those of the CPU kernels are the same."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.device import Device, Tensor, rounded
from . import reference
from .reference import GELU, LARGE_KERNEL, MULTI_SCALE

Array = NDArray[Any]
UNITS = {MULTI_SCALE: (7, 11, 21), LARGE_KERNEL: (3,), GELU: (3,)}
ENTRIES = {MULTI_SCALE: "multi_scale"}
LAYOUTS = (False, True)


@dataclass(frozen=True)
class Case:
    """A call of one unit; ``need`` says which gradients the backward is asked for."""

    unit: int
    sizes: tuple[int, ...] = ()
    shape: tuple[int, int, int, int] = (2, 5, 9, 13)
    dtype: str = "float32"
    weight_dtype: str = "float32"
    channels_last: bool = False
    bias: float = 1.0
    need: str = "both"
    max_blocks: int = 0

    def __str__(self) -> str:
        sizes = "-".join(map(str, self.all_sizes))
        shape = "x".join(map(str, self.shape))
        kind = f"{self.dtype}-{'nhwc' if self.channels_last else 'nchw'}"
        text = f"unit{self.unit}-{sizes}-{shape}-{kind}-{self.weight_dtype}-{self.need}"
        return f"{text}-blocks{self.max_blocks}" if self.max_blocks > 0 else text

    @property
    def all_sizes(self) -> tuple[int, ...]:
        return self.sizes or UNITS[self.unit]

    def numbers(self, *shape: int) -> Array:
        seed = zlib.crc32(repr((self.unit, self.all_sizes, self.shape, shape)).encode())
        return np.random.default_rng(seed).standard_normal(shape)

    @property
    def input(self) -> Array:
        return rounded(self.numbers(*self.shape), self.dtype)

    @property
    def grad(self) -> Array:
        return rounded(self.numbers(*self.shape[::-1]).transpose(3, 2, 1, 0), self.dtype)

    @property
    def weights(self) -> Array:
        """Of such a size that what they are multiplied with keeps its own."""
        convolutions = reference.convolutions(self.unit, self.all_sizes)
        values = self.numbers(self.shape[1], convolutions[-1].end + 1)
        for convolution in convolutions:
            values[:, convolution.first : convolution.end] /= np.sqrt(
                convolution.height * convolution.width
            )
            values[:, convolution.end] *= self.bias
        return rounded(values, self.weight_dtype)

    def arguments(self, device: Device) -> dict[str, Any]:
        batch, channels, height, width = self.shape
        sizes = (*self.all_sizes, 0, 0)
        weights = self.weights
        return {
            "batch": batch,
            "channels": channels,
            "height": height,
            "width": width,
            "channels_last": self.channels_last,
            "dtype": self.dtype,
            "weight_dtype": self.weight_dtype,
            "unit": self.unit,
            "index64": False,
            "max_blocks": self.max_blocks,
            **{f"size_{i}": sizes[i] for i in range(3)},
            "input": device.upload("input", self.input, self.dtype, self.channels_last),
            "weights": device.upload("weights", weights, self.weight_dtype),
        }

    @property
    def entry(self) -> str:
        return ENTRIES[self.unit]

    def expected(self) -> Array:
        return reference.forward(self.unit, self.all_sizes, self.input, self.weights)

    def expected_gradients(self) -> tuple[Array, Array]:
        return reference.backward(self.unit, self.all_sizes, self.grad, self.input, self.weights)

    def forward(self, device: Device) -> Tensor:
        output = device.empty("output", self.shape, self.dtype, self.channels_last)
        device.launch(f"{self.entry}_{self.dtype}", **self.arguments(device), output=output)
        return output

    def backward(self, device: Device) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of input and weights that are needed."""
        arguments = self.arguments(device)
        arguments["grad"] = device.upload("grad", self.grad, self.dtype, self.channels_last)
        grad_input = grad_weights = None
        if self.need != "weights":
            grad_input = device.empty("grad_input", self.shape, self.dtype, self.channels_last)
        if self.need != "input":
            shape = self.weights.shape
            grad_weights = device.empty("grad_weights", shape, self.weight_dtype)
        arguments |= {"grad_input": grad_input, "grad_weights": grad_weights}
        ask, launch = self.backward_entries
        count = device.call(ask, **arguments, workspace=None)
        device.launch(launch, **arguments, workspace=device.workspace(count))
        return grad_input, grad_weights

    @property
    def backward_entries(self) -> tuple[str, str]:
        return f"{self.entry}_workspace_{self.dtype}", f"{self.entry}_backward_{self.dtype}"


def every(*cases: Any) -> list[Any]:
    """Each of them in both layouts."""
    return [replace(case, channels_last=last) for case in cases for last in LAYOUTS]
