"""The end of a segmentation model: upsampled logits, their loss and their labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from scrn_ops import reference

from ..case import (
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
    draw_smooth,
    implemented,
)

LOSS, LOSSES, ARGMAX = "upsampled_cross_entropy", "upsampled_losses", "upsampled_argmax"
LOGITS = "upsampled_logits"
FIELDS = ("smooth", "random")
IGNORED = 255


@dataclass(frozen=True)
class ClassifyCase(Case):
    """Logits of the size ``low`` for a target or labels of ``size``. ``field`` is "smooth" (classes
    cover areas, as of a trained model) or "random" (every logit and label by itself)."""

    classes: int
    low: tuple[int, int]
    size: tuple[int, int]
    field: str = "smooth"

    @property
    def operation(self) -> Op:
        return OPS[self.op]

    @property
    def about(self) -> str:
        low, size = ("x".join(map(str, each)) for each in (self.low, self.size))
        return f"K={self.classes} {low} -> {size} {self.dtype_name} {self.field}"

    @property
    def output_shape(self) -> tuple[int, ...]:
        if self.op == LOGITS:
            return self.batch, self.classes, *self.size
        return () if self.op == LOSS else (self.batch, *self.size)

    @property
    def small(self) -> ClassifyCase:
        return replace(self, classes=2, low=(4, 4), size=(8, 8), field="random")

    @property
    def kernels(self) -> dict[str, str]:
        names = {"forward": ("loss",), "both": ("loss", "gradient"), "backward": ("scale",)}
        chosen = ("argmax",) if self.op == ARGMAX else names[self.direction]
        return dict.fromkeys(chosen, FEATURE_TYPES[self.dtype])


def logits_of(case: ClassifyCase, generator: Generator) -> Tensor:
    shape = (case.batch, case.classes, *case.low)
    if generator is None or case.field == "random":
        return draw(generator, *shape)
    return 4 * draw_smooth(generator, *shape) + 0.05 * draw(generator, *shape)


def loss_arguments(case: ClassifyCase, generator: Generator) -> Arguments:
    """The labels of a smooth field are its own, in squares of a node each."""
    logits = logits_of(case, generator)
    pixels = (case.batch, *case.size)
    if generator is None:
        target = torch.empty(pixels, dtype=torch.int64)
    elif case.field == "random":
        target = torch.randint(0, case.classes, pixels, generator=generator)
        target[torch.rand(pixels, generator=generator) < 0.05] = IGNORED
    else:
        labels = logits.argmax(1, keepdim=True)
        labels[torch.rand(labels.shape, generator=generator) < 0.05] = IGNORED
        target = F.interpolate(labels.float(), size=case.size, mode="nearest").squeeze(1).long()
    return {"logits": logits.to(case.dtype), "target": target}


def sized_arguments(case: ClassifyCase, generator: Generator) -> Arguments:
    """``like`` has the result's size, and no elements."""
    like = torch.empty(case.batch, 0, *case.size, dtype=torch.uint8)
    return {"logits": logits_of(case, generator).to(case.dtype), "like": like}


def _loss(module: ModuleType, reduction: str) -> Function:
    def call(logits: Tensor, target: Tensor) -> Tensor:
        loss: Tensor = module.upsampled_cross_entropy(
            logits, target, ignore_index=IGNORED, reduction=reduction
        )
        return loss

    return call


def _sized(name: str) -> dict[str, Any]:
    """The op in the three modules, from :func:`sized_arguments`."""

    def adapt(module: ModuleType) -> Function:
        def call(logits: Tensor, like: Tensor) -> Tensor:
            result: Tensor = getattr(module, name)(logits, tuple(like.shape[2:]))
            return result

        return call

    return implemented(adapt)


def _mean(logits: Tensor, target: Tensor) -> Tensor:
    """By the definition; image by image, none of which is kept for the backward."""
    total: Any = 0
    for i in range(len(logits)):
        image = logits[i : i + 1], target[i : i + 1]
        total = total + checkpoint(_loss(reference, "sum"), *image, use_reentrant=False)
    mean: Tensor = total / (target != IGNORED).sum()
    return mean


def _chosen(arguments: Arguments, labels: Tensor) -> Tensor:
    """The logits of the labels: where two are as good as equal, either label is right."""
    size = tuple(labels.shape[1:])
    images = []
    for logits, label in zip(arguments["logits"], labels, strict=True):
        upsampled = F.interpolate(logits[None].double(), size=size, mode="bilinear")
        images.append(upsampled.gather(1, label[None, None]).squeeze(1))
    return torch.cat(images)


def _loss_op(reduction: str, **exact: Function) -> Op:
    return Op(
        make=loss_arguments,
        **implemented(lambda module: _loss(module, reduction)) | exact,
        features=("logits",),
        by_image=reduction == "none",
    )


OPS: dict[str, Op] = {
    LOSS: _loss_op("mean", definition=_mean),
    LOSSES: _loss_op("none"),
    LOGITS: Op(
        make=sized_arguments,
        **_sized(LOGITS),
        features=("logits",),
        differentiable=False,
    ),
    ARGMAX: Op(
        make=sized_arguments,
        **_sized(ARGMAX),
        features=("logits",),
        differentiable=False,
        observed=_chosen,
    ),
}


def loss(classes: int, low: int, size: int, batch: int = 2, **options: Any) -> ClassifyCase:
    sizes = (low, low), (size, size)
    return ClassifyCase(LOSS, classes, *sizes, batch=batch, direction="both", **options)


def argmax(
    classes: int, low: tuple[int, int], batch: int = 1, op: str = ARGMAX, **options: Any
) -> ClassifyCase:
    """At four times the size of the logits."""
    size = (4 * low[0], 4 * low[1])
    return ClassifyCase(op, classes, low, size, batch=batch, **options)


# By which the loss is judged on a CPU, the quickest first; Cityscapes, ADE20K, and CamVid whole.
LARGE = (loss(19, 128, 512), loss(19, 256, 1024), loss(150, 128, 512))
SMALL = ClassifyCase(LOSS, 11, (90, 120), (360, 480), direction="both")
ANY_RATIO = loss(19, 256, 1000)
LABELS = (argmax(19, (256, 512)), argmax(150, (128, 128)))
UPSAMPLED = (argmax(19, (128, 256), op=LOGITS), *(replace(case, op=LOGITS) for case in LABELS))


def bars() -> Iterator[Bar]:
    def bar(case: ClassifyCase, required: float) -> Bar:
        return Bar(case, (case.layout,), required)

    for field, large, small, labels in (("smooth", 20, 12, 30), ("random", 12, 12, 12)):
        for case in LARGE:
            yield bar(replace(case, field=field), large)
        yield bar(replace(SMALL, field=field), small)
        for case in LABELS:
            yield bar(replace(case, field=field), labels)
    yield bar(ANY_RATIO, 10)
    for case, layout in itertools.product(UPSAMPLED[:1], LAYOUTS):
        yield bar(replace(case, layout=layout), 2)


def quick() -> Iterator[ClassifyCase]:
    """One: such a run is to be over in two minutes."""
    yield LARGE[0]


def full(device: str) -> Iterator[ClassifyCase]:
    if device != "cpu":
        yield from key()
        return
    for each in bars():
        yield each.case
    for case in LARGE[:1]:
        for field in FIELDS:
            yield replace(case, field=field, direction="forward")
            yield replace(case, field=field, dtype=torch.bfloat16)
        yield replace(case, layout="channels_last")
        yield replace(case, op=LOSSES)
    for case in UPSAMPLED:
        for layout in LAYOUTS:
            yield replace(case, layout=layout)
            yield replace(case, layout=layout, dtype=torch.bfloat16)


def smoke() -> Iterator[ClassifyCase]:
    """Odd sizes, up and down, more columns than a warp has lanes, classes that no group divides."""
    sizes = (((5, 37), (20, 148)), ((9, 7), (13, 5)))
    for dtype, size, layout in itertools.product(FEATURE_TYPES, sizes, LAYOUTS):
        case = ClassifyCase(LOSS, 7, *size, "random", batch=2, dtype=dtype, layout=layout)
        for op in (LOSS, LOSSES):
            yield from replace(case, op=op).variants(layouts=(layout,))
        yield replace(case, op=ARGMAX)


def key() -> Iterator[ClassifyCase]:
    """A training step of Cityscapes and one of ADE20K, and the labels of both."""
    cityscapes, ade = loss(19, 256, 1024, 16), loss(150, 128, 512, 32)
    yield cityscapes
    yield replace(cityscapes, dtype=torch.bfloat16)
    yield ade
    yield argmax(19, (256, 256), 16)
    yield argmax(150, (128, 128), 32)


FAMILY = Family(ClassifyCase, OPS, quick, full, smoke, key, 0, 3, tuple(bars()))
