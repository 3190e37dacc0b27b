"""Cases of the ops and how to run them on the executed kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.device import Device, Tensor, rounded
from . import reference

Array = NDArray[Any]


def compute_type(dtype: str) -> str:
    return "float64" if dtype == "float64" else "float32"


@dataclass(frozen=True)
class Aggregate:
    """Eq. 3: sizes, types, and whether the mask holds logits."""

    batch: int = 2
    height: int = 9
    width: int = 35
    dtype: str = "float32"  # of the result
    offset_dtype: str = "float32"
    mask_dtype: str = "float32"
    logits: bool = False
    index64: bool = False
    max_blocks: int = 0
    mask_scale: float = 1.5

    def inputs(self) -> dict[str, Array]:
        rng = np.random.default_rng(self.height * 1000 + self.width)

        def draw(channels: int, scale: float, dtype: str) -> Array:
            shape = (self.batch, channels, self.height, self.width)
            return rounded(rng.standard_normal(shape) * scale, dtype)

        return {
            "offset": draw(2, 3.0, self.offset_dtype),
            "mask": draw(9, self.mask_scale, self.mask_dtype),
            "grad": draw(2, 1.0, self.dtype),
        }

    def arguments(self) -> dict[str, Any]:
        return {
            "batch": self.batch,
            "height": self.height,
            "width": self.width,
            "dtype": self.dtype,
            "offset_dtype": self.offset_dtype,
            "mask_dtype": self.mask_dtype,
            "logits": self.logits,
            "index64": self.index64,
            "max_blocks": self.max_blocks,
        }

    def forward(self, device: Device) -> Tensor:
        values = self.inputs()
        shape = (self.batch, 2, self.height, self.width)
        aggregated = device.empty("aggregated", shape, self.dtype)
        device.launch(
            "aggregate_forward",
            **self.arguments(),
            offset=device.upload("offset", values["offset"], self.offset_dtype),
            mask=device.upload("mask", values["mask"], self.mask_dtype),
            aggregated=aggregated,
        )
        return aggregated

    def backward(
        self, device: Device, want_offset: bool = True, want_mask: bool = True
    ) -> tuple[Tensor | None, Tensor | None]:
        values = self.inputs()
        plane = (self.height, self.width)
        grad_offset = device.empty("grad_offset", (self.batch, 2, *plane), self.offset_dtype)
        grad_mask = device.empty("grad_mask", (self.batch, 9, *plane), self.mask_dtype)
        device.launch(
            "aggregate_backward",
            **self.arguments(),
            offset=device.upload("offset", values["offset"], self.offset_dtype),
            mask=device.upload("mask", values["mask"], self.mask_dtype),
            grad_aggregated=device.upload("grad_aggregated", values["grad"], self.dtype),
            grad_offset=grad_offset if want_offset else None,
            grad_mask=grad_mask if want_mask else None,
        )
        return (grad_offset if want_offset else None), (grad_mask if want_mask else None)


@dataclass(frozen=True)
class Sample:
    """Eq. 4, of the input itself or of its upsampling; with Eq. 3 in front if `mask` is set."""

    dtype: str = "float32"
    channels_last: bool = False
    index64: bool = False
    batch: int = 2
    channels: int = 5
    in_size: tuple[int, int] = (5, 11)
    out_size: tuple[int, int] = (9, 21)
    upsample: bool = True
    align_corners: bool = False
    mask: str = ""  # "weights" or "logits"
    skip: bool = False
    offset_dtype: str = "float32"
    mask_dtype: str = "float32"
    field: str = "random"
    max_blocks: int = 0
    deterministic: bool = False
    mask_scale: float = 1.0

    def offsets(self) -> Array:
        """[B, 2, H, W], as far from a kink in fp32 as its rounding could carry it."""
        rng = np.random.default_rng(self.channels * 7 + self.out_size[1])
        batch, (height, width) = self.batch, self.out_size
        shape = (batch, 2, height, width)
        if self.field == "zero":
            return np.zeros(shape)
        if self.field == "smooth":
            y, x = np.mgrid[0:height, 0:width]
            wave = np.stack([np.sin(0.31 * y + 0.2 * x), np.cos(0.27 * x - 0.1 * y)])
            values = np.repeat(1.3 * wave[None], batch, axis=0)
        elif self.field in ("collapsed", "corner", "neighbours"):
            y, x = np.mgrid[0:height, 0:width]
            point = (width - 2, height - 2) if self.field == "corner" else (width / 3, height / 3)
            centre = np.stack([point[0] - x, point[1] - y]) + 0.3
            if self.field == "neighbours":
                # A cell of the input further in every third row: lists that end within a unit.
                step = self.out_size[1] / self.in_size[1] if self.upsample else 1
                centre[0] += step * (y % 3 == 0)
            values = np.repeat(centre[None], batch, axis=0)
        elif self.field == "far":
            values = rng.uniform(-40, 40, shape)
        elif self.field == "special":
            values = self.special_offsets(rng)
        else:
            values = rng.uniform(-2.5, 2.5, shape)
        values = rounded(values, self.offset_dtype)
        return values if self.field == "special" else self.off_kinks(values)

    def special_offsets(self, rng: np.random.Generator) -> Array:
        """Points exactly at -1, 0, W-1 and W, integers, and what is not finite."""
        batch, (height, width) = self.batch, self.out_size
        y, x = np.mgrid[0:height, 0:width]
        size = (height, width) if self.upsample else self.in_size
        values = np.zeros((batch, 2, height, width))
        for dim, (index, length) in enumerate([(x, size[1]), (y, size[0])]):
            targets = np.array([-1, 0, length - 1, length, -2, length + 1, 0.5, -0.5, length / 2])
            chosen = rng.integers(0, len(targets) + 4, (batch, height, width))
            point = targets[np.minimum(chosen, len(targets) - 1)] - index
            for nth, special in enumerate([np.nan, np.inf, -np.inf, 1e30]):
                point = np.where(chosen == len(targets) + nth, special, point)
            values[:, dim] = point
        return values

    def off_kinks(self, values: Array) -> Array:
        """Moves points that lie within 1e-3 of an integer of the sampled grid."""
        if values.size == 0:
            return values
        sampler = reference.Sampler.of(values, self.in_size, self.upsample, self.align_corners)
        for dim, points in enumerate((sampler.columns, sampler.rows)):
            near = (points.fraction < 1e-3) | (points.fraction > 1 - 1e-3)
            if points.slope > 0:
                moved = rounded(values[:, dim] + 0.25, self.offset_dtype)
                values[:, dim] = np.where(near, moved, values[:, dim])
        return values

    def inputs(self) -> dict[str, Array]:
        rng = np.random.default_rng(self.channels * 31 + self.out_size[0])

        def draw(*shape: int) -> Array:
            return rng.standard_normal(shape)

        values = {
            "input": rounded(draw(self.batch, self.channels, *self.in_size), self.dtype),
            "grad": rounded(draw(self.batch, self.channels, *self.out_size), self.dtype),
            "offset": self.offsets(),
        }
        if self.skip:
            values["skip"] = rounded(draw(self.batch, self.channels, *self.out_size), self.dtype)
        if self.mask:
            scale = self.mask_scale if self.mask == "logits" else 0.3
            values["mask"] = rounded(draw(self.batch, 9, *self.out_size) * scale, self.mask_dtype)
        return values

    def sampler(self, offset: Array) -> reference.Sampler:
        return reference.Sampler.of(offset, self.in_size, self.upsample, self.align_corners)

    def arguments(self) -> dict[str, Any]:
        return {
            "batch": self.batch,
            "channels": self.channels,
            "in_h": self.in_size[0],
            "in_w": self.in_size[1],
            "out_h": self.out_size[0],
            "out_w": self.out_size[1],
            "upsample": self.upsample,
            "align_corners": self.align_corners,
            "channels_last": self.channels_last,
            "dtype": self.dtype,
            "offset_dtype": self.offset_dtype,
            "index64": self.index64,
            "max_blocks": self.max_blocks,
        }

    def expected_forward(self) -> tuple[Array, Array | None]:
        values = self.inputs()
        offset, aggregated = values["offset"], None
        if self.mask:
            aggregated = reference.aggregate(offset, values["mask"], self.mask == "logits")
            offset = aggregated
        output = self.sampler(offset).forward(values["input"])
        return output + values.get("skip", 0.0), aggregated

    def forward(
        self, device: Device, values: dict[str, Array] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        values, last = values or self.inputs(), self.channels_last
        feature_map = (self.batch, self.channels, *self.out_size)
        output = device.empty("output", feature_map, self.dtype, last)
        field = (self.batch, 2, *self.out_size)
        aggregated = device.empty("aggregated", field, compute_type(self.dtype))
        device.launch(
            f"sample_forward_{self.dtype}",
            **self.arguments(),
            mask_dtype=self.mask_dtype,
            logits=self.mask == "logits",
            input=device.upload("input", values["input"], self.dtype, last),
            offset=device.upload("offset", values["offset"], self.offset_dtype),
            mask=device.upload("mask", values["mask"], self.mask_dtype) if self.mask else None,
            skip=device.upload("skip", values["skip"], self.dtype, last) if self.skip else None,
            output=output,
            aggregated=aggregated if self.mask else None,
        )
        return output, (aggregated if self.mask else None)

    def expected_backward(self) -> tuple[Array, Array]:
        """Gradients of the input and of the offset."""
        values = self.inputs()
        return self.sampler(values["offset"]).backward(values["input"], values["grad"])

    def backward(
        self,
        device: Device,
        want_input: bool = True,
        want_offset: bool = True,
        values: dict[str, Array] | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        values, last = values or self.inputs(), self.channels_last
        feature_map = (self.batch, self.channels, *self.in_size)
        grad_input = device.empty("grad_input", feature_map, self.dtype, last)
        field = (self.batch, 2, *self.out_size)
        grad_offset = device.empty("grad_offset", field, self.offset_dtype)
        arguments = {
            **self.arguments(),
            "deterministic": self.deterministic,
            "input": device.upload("input", values["input"], self.dtype, last),
            "offset": device.upload("offset", values["offset"], self.offset_dtype),
            "grad_output": device.upload("grad_output", values["grad"], self.dtype, last),
            "grad_input": grad_input if want_input else None,
            "grad_offset": grad_offset if want_offset else None,
        }
        needed = device.call(f"sample_backward_workspace_{self.dtype}", **arguments, workspace=None)
        workspace = device.workspace(needed)
        device.launch(f"sample_backward_{self.dtype}", **arguments, workspace=workspace)
        return (grad_input if want_input else None), (grad_offset if want_offset else None)

    def but(self, **changes: Any) -> Sample:
        return replace(self, **changes)
