"""A call of the executed kernels, and its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.device import Device, Tensor, decode, rounded
from . import reference

Array = NDArray[Any]
REDUCTIONS = ("none", "mean", "sum")
TARGETS = ("uint8", "int32", "int64")


@dataclass(frozen=True)
class Case:
    dtype: str = "float32"
    channels_last: bool = False
    batch: int = 2
    classes: int = 5
    low: tuple[int, int] = (4, 6)
    high: tuple[int, int] = (16, 24)
    align_corners: bool = False
    reduction: str = "mean"
    target_type: str = "int64"
    smoothing_percent: int = 0
    weighted: bool = False
    ignore_index: int = 200
    max_blocks: int = 0
    spread: float = 2.0
    buffer_bytes: int = -1  # that pixels' sums may take where the logits take less

    def __str__(self) -> str:
        size = "x".join(map(str, (self.batch, self.classes, *self.low)))
        parts = [self.dtype, "nhwc" if self.channels_last else "nchw"]
        parts += [f"{size}to{self.high[0]}x{self.high[1]}", self.reduction, self.target_type]
        parts += ["corners"] * self.align_corners + ["weight"] * self.weighted
        parts += [f"smooth{self.smoothing_percent}"] * (self.smoothing_percent > 0)
        parts += [f"blocks{self.max_blocks}"] * (self.max_blocks > 0)
        parts += [f"buffer{self.buffer_bytes}"] * (self.buffer_bytes >= 0)
        return "-".join([*parts, *(["steep"] * (self.spread > 10))])

    @property
    def sums(self) -> str:
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def pixels(self) -> tuple[int, int, int]:
        return (self.batch, *self.high)

    def inputs(self) -> dict[str, Array]:
        numbers = np.random.default_rng(7)
        shape = (self.batch, self.classes, *self.low)
        logits = rounded(self.spread * numbers.standard_normal(shape), self.dtype)
        target = numbers.integers(0, self.classes, self.pixels)
        target[numbers.random(self.pixels) < 0.2] = self.ignore_index
        weight = numbers.random(self.classes) + 0.1 if self.weighted else np.ones(self.classes)
        grad = numbers.random(self.pixels) - 0.3
        return {
            "logits": logits,
            "target": target,
            "weight": rounded(weight, self.sums),
            "grad": rounded(grad, self.sums),
        }

    def expected(self, dtype: Any = np.float64) -> tuple[Array, Array]:
        """Loss and gradient; those of the loss without a reduction for the incoming gradient. In
        float32: what the chain finds, with its errors."""
        values = self.inputs()
        logits, weight, grad = (values[name].astype(dtype) for name in ("logits", "weight", "grad"))
        z = reference.upsampled(logits, self.high, self.align_corners)
        loss, slope, weights = reference.losses(
            z, values["target"], weight, self.ignore_index, self.smoothing_percent / 100
        )
        if self.reduction == "none":
            slope = slope * grad[:, None]
        elif self.reduction == "mean":
            total = weights.sum()
            loss, slope = loss.sum() / total, slope / total
        else:
            loss = loss.sum()
        return loss, reference.gradient(slope, self.low, self.align_corners)

    def shape_arguments(self) -> dict[str, Any]:
        return {
            "batch": self.batch,
            "classes": self.classes,
            "in_h": self.low[0],
            "in_w": self.low[1],
            "out_h": self.high[0],
            "out_w": self.high[1],
            "align_corners": self.align_corners,
            "channels_last": self.channels_last,
            "dtype": self.dtype,
            "index64": False,
            "max_blocks": self.max_blocks,
        }

    def loss(self, device: Device, differentiated: bool = True) -> tuple[Array, Array | None]:
        """Loss, and the gradient by the whole way to it."""
        values = self.inputs()
        logits = device.upload("logits", values["logits"], self.dtype, self.channels_last)
        target = device.upload("target", values["target"], self.target_type)
        weight = device.upload("weight", values["weight"], self.sums) if self.weighted else None
        shape = self.shape_arguments() | {"buffer_bytes": self.buffer_bytes}
        none = self.reduction == "none"
        keeps = differentiated and not none
        workspace = self.workspace(device, keeps)
        gradient = device.empty("gradient", logits.shape, self.dtype, self.channels_last)
        loss = device.empty("loss", self.pixels if none else (1,), self.sums)
        statistics = device.empty("statistics", (2,), "float64")
        common = {
            **shape,
            "logits": logits,
            "target": target,
            "weight": weight,
            "workspace": workspace,
            "target_type": TARGETS.index(self.target_type),
            "ignore_index": self.ignore_index,
            "smoothing_percent": self.smoothing_percent,
        }
        device.launch(
            f"cross_entropy_{self.dtype}",
            **common,
            reduction=REDUCTIONS.index(self.reduction),
            loss=loss,
            statistics=statistics,
            gradient=gradient if keeps else None,
        )
        if not differentiated:
            return loss.numpy()[0] if not none else loss.numpy(), None
        if none:
            common["workspace"] = self.workspace(device, keeps=True)
            grad = device.upload("grad", values["grad"], self.sums)
            device.launch(
                f"cross_entropy_backward_{self.dtype}", **common, grad_loss=grad, gradient=gradient
            )
            return loss.numpy(), gradient.numpy()
        return loss.numpy()[0], self.scaled(device, gradient, statistics)

    def workspace(self, device: Device, keeps: bool) -> Any:
        return device.workspace(self.workspace_bytes(device, keeps))

    def workspace_bytes(self, device: Device, keeps: bool) -> int:
        arguments = self.shape_arguments() | {"buffer_bytes": self.buffer_bytes, "keeps": keeps}
        return device.call(f"workspace_{self.dtype}", **arguments)

    def scaled(self, device: Device, gradient: Tensor, statistics: Tensor) -> Array:
        one = device.upload("grad", np.ones(1), self.sums)
        scaled = device.empty("scaled", gradient.shape, self.dtype, self.channels_last)
        device.launch(
            f"scale_gradient_{self.dtype}",
            count=int(np.prod(gradient.shape)),
            dtype=self.dtype,
            reduction=REDUCTIONS.index(self.reduction),
            grad_loss=one,
            statistics=statistics,
            gradient=gradient,
            scaled=scaled,
            index64=False,
            max_blocks=self.max_blocks,
        )
        return scaled.numpy()

    def argmax(self, device: Device, confident: bool) -> tuple[Array, Array | None]:
        logits = device.upload("logits", self.inputs()["logits"], self.dtype, self.channels_last)
        kind = "uint8" if self.target_type == "uint8" else "int64"
        labels = device.empty("labels", self.pixels, kind)
        confidence = device.empty("confidence", self.pixels, "float32") if confident else None
        device.launch(
            f"argmax_{self.dtype}",
            **self.shape_arguments(),
            label_type=TARGETS.index(kind),
            logits=logits,
            labels=labels,
            confidence=confidence,
        )
        return labels.raw(), None if confidence is None else decode(confidence.raw(), "float32")


@dataclass(frozen=True)
class Areas(Case):
    """Labels and classes cover squares of so many nodes, as in images."""

    area: int = 12

    def inputs(self) -> dict[str, Array]:
        values = super().inputs()
        rows, columns = (np.arange(n) // self.area for n in self.low)
        area = (rows[:, None] * 3 + columns) % self.classes
        classes = np.arange(self.classes)[:, None, None]
        values["logits"] = rounded(values["logits"] / 4 + 2 * (area == classes), self.dtype)
        rows, columns = (np.arange(h) * n // h for n, h in zip(self.low, self.high, strict=True))
        values["target"] = np.broadcast_to(area[np.ix_(rows, columns)], self.pixels).copy()
        return values
