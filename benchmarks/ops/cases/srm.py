"""The refinement's ops: at every level of the decoder, in the networks that they occur in."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scrn_ops import eager, reference

from ..case import (
    DEFAULT,
    DETERMINISTIC,
    FEATURE_TYPES,
    LAYOUTS,
    Arguments,
    Bar,
    Case,
    Family,
    Function,
    Generator,
    Op,
    Peer,
    draw,
    draw_smooth,
    implemented,
)

WIDTH = 128  # channels of the decoder
DEFORM = "deform_conv2d"  # torchvision's
Size = tuple[int, int]

# Size of the input, and batch size of training with its crop: Cityscapes, BDD100K, ADE20K.
NETWORKS: tuple[tuple[Size, Size, int], ...] = (
    ((1024, 2048), (1024, 1024), 16),
    ((720, 1280), (720, 720), 32),
    ((512, 512), (512, 512), 32),
)
CPU_TRAINING_BATCH = 2


@dataclass(frozen=True)
class SampledCase(Case):
    """``low`` is the size of the sampled map, ``size`` that of the offsets. ``field`` is the kind
    of offsets: "smooth" (1 to 2 px, as trained), "zero" (where training starts) or "random"
    (every pixel by itself)."""

    low: Size
    size: Size
    channels: int = WIDTH
    field: str = "smooth"

    @property
    def operation(self) -> Op:
        return OPS[self.op]

    @property
    def about(self) -> str:
        low, size = ("x".join(map(str, each)) for each in (self.low, self.size))
        shape = f"{low} -> {size}" if self.low != self.size else size
        channels = f"C={self.channels} " if self.channels else ""
        return f"{channels}{shape} {self.dtype_name} {self.field}"

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.batch, self.channels or 2, *self.size

    @property
    def small(self) -> SampledCase:
        low = (8, 8) if self.low == self.size else (4, 4)
        return replace(self, low=low, size=(8, 8), channels=min(self.channels, 1), field="zero")

    @property
    def modes(self) -> tuple[str, ...]:
        return (DEFAULT,) if self.direction == "forward" else (DEFAULT, DETERMINISTIC)

    @property
    def launches(self) -> int:
        """As the launchers of csrc/srm/cuda go: without the deterministic mode."""
        if self.op == "aggregate_offsets":
            backward = 1
        else:
            # Zeros to add to; then one kernel in channels_last, and two in NCHW.
            backward = 2 if self.layout == "channels_last" else 3
            if self.dtype in (torch.float16, torch.bfloat16):
                backward += 1  # the sums, which are float32, are rounded
            if self.op == "semantic_refine":
                backward += 1  # Eq. 3's gradients
        return self.in_direction(1, backward)

    @property
    def kernels(self) -> dict[str, str]:
        """Without those that fill and round."""
        if self.op == "aggregate_offsets":
            forward, backward = ("aggregate_forward",), ("aggregate_backward",)
        elif self.layout == "channels_last":
            forward, backward = ("sample_forward_channels_last",), ("backward_window",)
        else:
            forward, backward = ("sample_forward_planes",), ("offset_grad_planes", "scatter_planes")
        if self.op == "semantic_refine":
            backward += ("aggregate_backward",)
        accumulate = "fp64" if self.dtype == torch.float64 else "fp32"
        return {
            name: accumulate if name.startswith("aggregate") else FEATURE_TYPES[self.dtype]
            for name in self.in_direction(forward, backward)
        }


def refine_arguments(case: SampledCase, generator: Generator) -> Arguments:
    height, width = case.size
    return {
        "low": draw(generator, case.batch, case.channels, *case.low).to(case.dtype),
        "offset": offsets(case, generator),
        "mask": draw(generator, case.batch, 9, height, width).to(case.dtype),
        "skip": draw(generator, case.batch, case.channels, height, width).to(case.dtype),
    }


def sample_arguments(case: SampledCase, generator: Generator) -> Arguments:
    input = draw(generator, case.batch, case.channels, *case.low).to(case.dtype)
    return {"input": input, "offset": offsets(case, generator)}


def aggregate_arguments(case: SampledCase, generator: Generator) -> Arguments:
    mask = draw(generator, case.batch, 9, *case.size).to(case.dtype)
    return {"offset": offsets(case, generator), "mask": mask}


def offsets(case: SampledCase, generator: Generator) -> Tensor:
    """Offsets [B, 2, H, W] in float32, as the models compute them also for half types."""
    height, width = case.size
    if generator is None:
        return draw(generator, case.batch, 2, height, width)
    if case.field == "zero":
        return torch.zeros(case.batch, 2, height, width)
    if case.field == "random":
        return 2 * draw(generator, case.batch, 2, height, width)
    smooth = draw_smooth(generator, case.batch, 2, height, width)
    return smooth * (1.5 / smooth.square().sum(1).mean().sqrt())


def _with_logits(name: str) -> Callable[[ModuleType], Function]:
    return lambda module: functools.partial(getattr(module, name), mask_is_logits=True)


def _refine_points(arguments: Arguments) -> Tensor:
    offset, mask = arguments["offset"], arguments["mask"]
    return reference.aggregate_offsets(offset, mask, mask_is_logits=True)


def _sample_points(arguments: Arguments) -> Tensor:
    """Only the fractions matter: positions on the input's grid."""
    offset = arguments["offset"]
    (h, w), (height, width) = arguments["input"].shape[2:], offset.shape[2:]
    x = torch.arange(width, dtype=offset.dtype, device=offset.device)
    y = torch.arange(height, dtype=offset.dtype, device=offset.device)[:, None]
    scale_x, scale_y = (w - 1) / max(width - 1, 1), (h - 1) / max(height - 1, 1)
    return torch.stack(((x + offset[:, 0]) * scale_x, (y + offset[:, 1]) * scale_y), dim=1)


ABOUT_DEFORM = "torchvision's `deform_conv2d` with an identity kernel"


def sample_peers(case: SampledCase) -> dict[str, Peer]:
    """A deformable 1x1 convolution whose kernel is the identity samples at every pixel's offset.
    It samples maps of the output's size alone, and takes its offsets in the features' type: in
    a half type they are off by up to a pixel."""
    if case.low != case.size or case.dtype != torch.float32:
        return {}
    return {DEFORM: Peer(_deform, ABOUT_DEFORM)}


def refine_peers(case: SampledCase) -> dict[str, Peer]:
    """Forward alone: backward it takes many times what the chain does, seconds on a CPU."""
    if case.dtype != torch.float32 or case.direction != "forward":
        return {}
    return {DEFORM: Peer(_refine_by_deform, ABOUT_DEFORM)}


def _deform(input: Tensor, offset: Tensor) -> Tensor:
    from torchvision.ops import deform_conv2d

    channels = input.shape[1]
    identity = torch.ones(channels, 1, 1, 1, dtype=input.dtype, device=input.device)
    return deform_conv2d(input, offset.flip(1), identity)  # it takes y first


def _refine_by_deform(low: Tensor, offset: Tensor, mask: Tensor, skip: Tensor) -> Tensor:
    aggregated = eager.aggregate_offsets(offset, mask, mask_is_logits=True)
    upsampled = F.interpolate(low, size=offset.shape[2:], mode="bilinear", align_corners=False)
    return _deform(upsampled, aggregated) + skip


OPS: dict[str, Op] = {
    "semantic_refine": Op(
        make=refine_arguments,
        **implemented(_with_logits("semantic_refine")),
        points=_refine_points,
        peers=refine_peers,
        features=("low", "skip"),
        passed=("skip",),
    ),
    "offset_sample": Op(
        make=sample_arguments,
        **implemented(lambda module: module.offset_sample),
        points=_sample_points,
        peers=sample_peers,
        features=("input",),
    ),
    "aggregate_offsets": Op(
        make=aggregate_arguments, **implemented(_with_logits("aggregate_offsets"))
    ),
}


def refine(low: Size, size: Size, **options: Any) -> SampledCase:
    return SampledCase("semantic_refine", low, size, **options)


# The two shapes by which the fused op is judged on a CPU, the larger one first.
JUDGED = (refine((64, 128), (128, 256)), refine((32, 64), (64, 128)))


def quick() -> Iterator[SampledCase]:
    for case in JUDGED:
        yield from case.variants()


def bars() -> Iterator[Bar]:
    for direction, layout, layouts, required, moonshot, aim in (
        ("forward", "nchw", ("nchw",), 9, 16, 2),
        ("forward", "channels_last", ("channels_last",), 14, 22, 2),
        ("forward", "nchw", LAYOUTS, 6, None, None),
        ("forward", "channels_last", LAYOUTS, 6, None, None),
        ("backward", "nchw", ("nchw",), 10, 20, 5),
        ("backward", "channels_last", ("channels_last",), 10, 20, 5),
    ):
        for case in reversed(JUDGED):
            judged = replace(case, direction=direction, layout=layout)
            yield Bar(judged, layouts, required, moonshot, aim)


def steps(size: Size) -> list[tuple[Size, Size]]:
    """From map to map, at strides 32, 16, 8 and 4."""
    maps = [(math.ceil(size[0] / s), math.ceil(size[1] / s)) for s in (32, 16, 8, 4)]
    return list(itertools.pairwise(maps))


def full(device: str) -> Iterator[SampledCase]:
    """Every level of the decoder at inference, the other types and ops, and the training crops,
    the largest maps, last: where time is short they are left out."""
    for size, _, _ in NETWORKS:
        for low, high in steps(size):
            yield from refine(low, high).variants()
    for dtype in (torch.bfloat16, torch.float16):
        for low, high in steps((1024, 2048))[1:]:
            yield from refine(low, high, dtype=dtype).variants()
    for field in ("zero", "random"):
        yield from refine((64, 128), (128, 256), field=field).variants()
    for low, high in steps((1024, 2048))[:2]:
        # A warp of a map of the same size, and SFNet's, which samples the coarser map.
        for sampled in (high, low):
            yield from SampledCase("offset_sample", sampled, high).variants()
        aggregate = SampledCase("aggregate_offsets", high, high, channels=0)
        yield from aggregate.variants(layouts=LAYOUTS[:1])
    for _, crop, batch in NETWORKS:
        for low, high in steps(crop):
            some = CPU_TRAINING_BATCH if device == "cpu" else batch
            yield from refine(low, high, batch=some).variants(("both",))


def smoke() -> Iterator[SampledCase]:
    """Odd sizes, channels that no vector divides, two images."""
    for dtype in FEATURE_TYPES:
        for op, low, batch, channels in (
            ("semantic_refine", (6, 7), 2, 9),
            ("offset_sample", (11, 13), 1, 33),
            ("offset_sample", (5, 9), 1, 64),
        ):
            case = SampledCase(op, low, (11, 13), channels, "random", batch=batch, dtype=dtype)
            yield from case.variants()
        aggregate = SampledCase("aggregate_offsets", (5, 37), (5, 37), 0, batch=2, dtype=dtype)
        yield from aggregate.variants(layouts=LAYOUTS[:1])


def key() -> Iterator[SampledCase]:
    """The finest level of Cityscapes, its training crop in a batch of eight, and a map so small
    that a call costs more than its kernels."""
    shapes = (((128, 256), (256, 512), 1), ((32, 64), (64, 128), 1), ((128, 128), (256, 256), 8))
    dtypes = (torch.float32, torch.bfloat16)
    for (low, size, batch), dtype, layout in itertools.product(shapes, dtypes, LAYOUTS):
        yield from refine(low, size, batch=batch, dtype=dtype).variants(layouts=(layout,))


FAMILY = Family(SampledCase, OPS, quick, full, smoke, key, 4, 4, tuple(bars()))
