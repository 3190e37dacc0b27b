"""The depthwise units of MSCAN and VAN, at the stages of a Cityscapes image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..case import (
    DIRECTIONS,
    FEATURE_TYPES,
    LAYOUTS,
    Arguments,
    Bar,
    Case,
    Family,
    Function,
    Generator,
    Op,
    draw,
    implemented,
    nothing,
)

STRIPS = (7, 11, 21)
MULTI_SCALE, LARGE_KERNEL, GELU = (
    "multi_scale_depthwise",
    "large_kernel_depthwise",
    "depthwise_gelu",
)
# Channels, how many times as many the MLP has, and the size, of the four stages at 1024x2048.
STAGES = ((64, 8, (256, 512)), (128, 8, (128, 256)), (320, 4, (64, 128)), (512, 4, (32, 64)))


@dataclass(frozen=True)
class DepthwiseCase(Case):
    """A map of ``channels``, of the height and width ``size``."""

    channels: int
    size: tuple[int, int]

    @property
    def operation(self) -> Op:
        return OPS[self.op]

    @property
    def about(self) -> str:
        return f"C={self.channels} {'x'.join(map(str, self.size))} {self.dtype_name}"

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.batch, self.channels, *self.size

    @property
    def small(self) -> DepthwiseCase:
        return replace(self, channels=2, size=(8, 8))

    @property
    def launches(self) -> int:
        """As the launchers of csrc/depthwise/cuda go, and the packing of the weights."""
        return self.in_direction(2, len(_backward_kernels(self.op)) + 1)

    @property
    def kernels(self) -> dict[str, str]:
        """Without the sum of the tiles' parts of the weights' gradients."""
        names = self.in_direction((_forward_kernel(self),), _backward_kernels(self.op))
        types = dict.fromkeys(names, FEATURE_TYPES[self.dtype])
        if self.dtype != torch.float64:
            # Compiled for the type of the sums.
            types |= dict.fromkeys(types.keys() - {GELU_ROWS}, FEATURE_TYPES[torch.float32])
        return types


GELU_ROWS = "gelu_rows"


def _forward_kernel(case: DepthwiseCase) -> str:
    """Of csrc/depthwise/cuda."""
    if case.op != GELU:
        return {MULTI_SCALE: "multi_scale_forward", LARGE_KERNEL: "large_kernel_forward"}[case.op]
    neighbours = case.channels if case.layout == "channels_last" else case.size[1]
    return GELU_ROWS if neighbours % 4 == 0 and case.dtype != torch.float64 else "gelu_forward"


def _backward_kernels(op: str) -> tuple[str, ...]:
    return {
        MULTI_SCALE: ("multi_scale_backward", "local_backward"),
        LARGE_KERNEL: ("large_kernel_input", "large_kernel_sums"),
        GELU: ("gelu_backward",),
    }[op]


def _kernels(op: str) -> dict[str, tuple[int, int]]:
    """Height and width of every convolution, by its name among the arguments."""
    if op == GELU:
        return {"weight": (3, 3)}
    if op == LARGE_KERNEL:
        return {"local": (5, 5), "dilated": (7, 7)}
    rows = {f"row_{n}": (1, n) for n in STRIPS}
    columns = {f"column_{n}": (n, 1) for n in STRIPS}
    return {"local": (5, 5), **rows, **columns}


def arguments(case: DepthwiseCase, generator: Generator) -> Arguments:
    """Weights that keep the size of what they are multiplied with."""
    c = case.channels
    made = {"input": draw(generator, *case.output_shape).to(case.dtype)}
    for name, (height, width) in _kernels(case.op).items():
        weight = draw(generator, c, 1, height, width) / (height * width) ** 0.5
        made[name] = weight.to(case.dtype)
        made[f"{name}_bias"] = draw(generator, c).to(case.dtype)
    return made


def _multi_scale(function: Function) -> Function:
    def call(input: Tensor, **named: Tensor) -> Tensor:
        return function(
            input,
            named["local"],
            named["local_bias"],
            [named[f"row_{n}"] for n in STRIPS],
            [named[f"row_{n}_bias"] for n in STRIPS],
            [named[f"column_{n}"] for n in STRIPS],
            [named[f"column_{n}_bias"] for n in STRIPS],
        )

    return call


def _gelu(function: Function) -> Function:
    def call(input: Tensor, weight: Tensor, weight_bias: Tensor) -> Tensor:
        return function(input, weight, weight_bias)

    return call


def _op(name: str, adapt: Callable[[Function], Function]) -> Op:
    return Op(
        make=arguments,
        **implemented(lambda module: adapt(getattr(module, name))),
        features=("input",),
        by_image=False,  # which the weights and their gradients are not
    )


OPS = {
    MULTI_SCALE: _op(MULTI_SCALE, _multi_scale),
    LARGE_KERNEL: _op(LARGE_KERNEL, lambda function: function),
    GELU: _op(GELU, _gelu),
}


# The shape by which a unit is judged on a CPU: that of most blocks.
JUDGED = DepthwiseCase(MULTI_SCALE, 320, (64, 128))


def bars() -> Iterator[Bar]:
    for direction, layout, required in (
        ("forward", "channels_last", 3.3),
        ("forward", "nchw", 7),
        ("backward", "channels_last", 15),
        ("backward", "nchw", 8),
    ):
        yield Bar(replace(JUDGED, direction=direction, layout=layout), (layout,), required)


def full(device: str) -> Iterator[DepthwiseCase]:
    """Every stage on the CPU, and bfloat16 in the forward; the key cases are those of a GPU."""
    if device != "cpu":
        return
    for channels, ratio, size in STAGES:
        yield from DepthwiseCase(MULTI_SCALE, channels, size).variants()
        yield from DepthwiseCase(LARGE_KERNEL, channels, size).variants()
        yield from DepthwiseCase(GELU, channels * ratio, size).variants(DIRECTIONS[:1])
        half = DepthwiseCase(MULTI_SCALE, channels, size, dtype=torch.bfloat16)
        yield from half.variants(DIRECTIONS[:1])


def smoke() -> Iterator[DepthwiseCase]:
    """Odd sizes, two images; tiles of every kind, with tails, and several of them."""
    sizes = ((9, (11, 13)), (3, (37, 70)), (8, (18, 12)))
    for dtype, op, (channels, size) in itertools.product(FEATURE_TYPES, OPS, sizes):
        yield from DepthwiseCase(op, channels, size, batch=2, dtype=dtype).variants()


def key() -> Iterator[DepthwiseCase]:
    """The stages of a Cityscapes image, and a training crop's first stage in a batch of eight; of
    the other units the stages of most pixels and of most blocks."""
    stages = [(channels, ratio, size, 1) for channels, ratio, size in STAGES]
    crop = (64, 8, (128, 128), 8)
    for op in OPS:
        for channels, ratio, size, batch in (*stages, crop) if op == MULTI_SCALE else stages[::2]:
            width = channels * ratio if op == GELU else channels
            for dtype, layout in itertools.product((torch.float32, torch.bfloat16), LAYOUTS):
                case = DepthwiseCase(op, width, size, batch=batch, dtype=dtype)
                yield from case.variants(layouts=(layout,))


FAMILY = Family(DepthwiseCase, OPS, nothing, full, smoke, key, 2, 4, tuple(bars()))
