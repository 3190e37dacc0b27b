"""3x3 convolutions: those of the decoder at the levels of a Cityscapes image, and ResNet's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import ModuleType

import torch
from torch import Tensor

from scrn_ops import pack_conv3x3

from ..case import (
    DIRECTIONS,
    Arguments,
    Bar,
    Case,
    Family,
    Function,
    Generator,
    Op,
    Peer,
    draw,
    implemented,
    nothing,
)

CONV = "conv3x3"
PACKED = "oneDNN, packed"
# Channels, results and size. The last three are blocks of ResNet18.
SHAPES = (
    (128, 64, (256, 512)),
    (128, 128, (128, 256)),
    (128, 64, (90, 120)),
    (128, 128, (23, 30)),
    (64, 64, (128, 256)),
    (256, 256, (32, 64)),
    (512, 512, (16, 32)),
)


@dataclass(frozen=True)
class ConvolutionCase(Case):
    """A map of ``channels``, of the height and width ``size``, to ``results`` channels."""

    channels: int
    results: int
    size: tuple[int, int]

    @property
    def operation(self) -> Op:
        return OPS[self.op]

    @property
    def about(self) -> str:
        size = "x".join(map(str, self.size))
        return f"{self.channels} -> {self.results} {size} {self.dtype_name}"

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.batch, self.results, *self.size

    @property
    def small(self) -> ConvolutionCase:
        return replace(self, channels=2, results=2, size=(8, 8))


def arguments(case: ConvolutionCase, generator: Generator) -> Arguments:
    weight = draw(generator, case.results, case.channels, 3, 3) / (9 * case.channels) ** 0.5
    return {
        "input": draw(generator, case.batch, case.channels, *case.size),
        "weight": weight,
        "bias": draw(generator, case.results),
        "packed": pack_conv3x3(weight),
    }


def _relu(module: ModuleType) -> Function:
    takes_packed = module.__name__ == "scrn_ops"

    def call(input: Tensor, weight: Tensor, bias: Tensor, packed: Tensor) -> Tensor:
        more = {"packed": packed} if takes_packed else {}
        result: Tensor = module.conv3x3(input, weight, bias, minimum=0, **more)
        return result

    return call


def peers(case: ConvolutionCase) -> dict[str, Peer]:
    """oneDNN's convolution with a weight in its own order, and the ReLU in the same pass."""
    if not torch.backends.mkldnn.is_available() or case.layout != "channels_last":
        return {}
    geometry, shape = ([1, 1], [1, 1], [1, 1], 1), (case.batch, case.channels, *case.size)
    mkldnn, held = torch.ops.mkldnn, {}

    def call(input: Tensor, weight: Tensor, bias: Tensor, packed: Tensor) -> Tensor:
        if weight.data_ptr() not in held:
            made = mkldnn._reorder_convolution_weight(weight, *geometry, list(shape))
            held[weight.data_ptr()] = (weight, made)
        own = held[weight.data_ptr()][1]
        result: Tensor = mkldnn._convolution_pointwise(input, own, bias, *geometry, "relu", [], "")
        return result

    return {PACKED: Peer(call, "oneDNN's convolution by a weight that it has packed")}


OPS = {
    CONV: Op(
        make=arguments,
        **implemented(_relu),
        peers=peers,
        features=("input",),
        differentiable=False,
        by_image=False,  # which the weights are not
    )
}

JUDGED = ConvolutionCase(CONV, 128, 64, (128, 256), layout="channels_last")


def quick() -> Iterator[ConvolutionCase]:
    yield JUDGED


def full(device: str) -> Iterator[ConvolutionCase]:
    """There is a kernel for the CPU alone."""
    if device != "cpu":
        return
    for channels, results, size in SHAPES:
        yield from ConvolutionCase(CONV, channels, results, size).variants(DIRECTIONS[:1])


BARS = (Bar(JUDGED, ("channels_last",), 2.0),)
FAMILY = Family(ConvolutionCase, OPS, quick, full, nothing, nothing, 0, 0, BARS)
