"""What is measured: ops, shapes, types, layouts and directions, by the networks they occur in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

LAYOUTS = ("nchw", "channels_last")
WIDTH = 128  # channels of the decoder
Size = tuple[int, int]

# Name, size of the input, and batch size of training with its crop.
NETWORKS: tuple[tuple[str, Size, Size, int], ...] = (
    ("Cityscapes", (1024, 2048), (1024, 1024), 16),
    ("BDD100K", (720, 1280), (720, 720), 32),
    ("ADE20K", (512, 512), (512, 512), 32),
)
CPU_TRAINING_BATCH = 2


class AnyCase:
    """One thing to be timed, by every implementation. Each family of ops has a frozen dataclass
    of its own below, with at least these fields; its ops are in :data:`benchmarks.ops.OPS`, and
    which cases are measured where is said by its entry in :data:`FAMILIES`."""

    op: str
    batch: int
    dtype: torch.dtype
    layout: str
    direction: str

    @property
    def data(self) -> Any:
        """The case whose numbers are this one's: the same for both layouts and every direction."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        raise NotImplementedError

    @property
    def output_shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    @property
    def small(self) -> Any:
        """The same way through the code with so few numbers that any machine has it at once."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """What ``--filter`` looks at."""
        return self.title

    @property
    def group(self) -> Any:
        """The same for all layouts of one problem, which a report shows side by side."""
        return self

    @property
    def in_layouts(self) -> tuple[Any, ...]:
        return (self,)

    @property
    def modes(self) -> tuple[str, ...]:
        """Whether torch's deterministic mode takes another way through the op."""
        return (DEFAULT,)


DEFAULT, DETERMINISTIC = "default", "deterministic"


@dataclass(frozen=True)
class Case(AnyCase):
    """Of the refinement's ops.

    ``low`` is the size of the sampled map, ``size`` that of the offsets. ``direction`` is
    "forward" (without autograd), "backward" (alone) or "both" (a training step of the op).
    ``field`` is the kind of offsets: "smooth" (1 to 2 px, as trained), "zero" (where training
    starts) or "random" (every pixel by itself).
    """

    op: str
    low: Size
    size: Size
    batch: int = 1
    channels: int = WIDTH
    dtype: torch.dtype = torch.float32
    layout: str = "nchw"
    direction: str = "forward"
    field: str = "smooth"

    @property
    def data(self) -> Case:
        return replace(self, layout="nchw", direction="forward")

    @property
    def title(self) -> str:
        low, size = ("x".join(map(str, each)) for each in (self.low, self.size))
        shape = f"{low} -> {size}" if self.low != self.size else size
        dtype = str(self.dtype).removeprefix("torch.")
        channels = f" C={self.channels}" if self.channels else ""
        return f"{self.op} B={self.batch}{channels} {shape} {dtype} {self.field} {self.direction}"

    @property
    def name(self) -> str:
        return f"{self.title} {self.layout}"

    @property
    def pixels(self) -> int:
        return self.batch * self.size[0] * self.size[1]

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.batch, self.channels or 2, *self.size

    @property
    def small(self) -> Case:
        low = (8, 8) if self.low == self.size else (4, 4)
        return replace(self, low=low, size=(8, 8), channels=min(self.channels, 1), field="zero")

    @property
    def group(self) -> Case:
        return replace(self, layout=LAYOUTS[0])

    @property
    def in_layouts(self) -> tuple[Case, ...]:
        return tuple(replace(self, layout=layout) for layout in LAYOUTS)

    @property
    def modes(self) -> tuple[str, ...]:
        return (DEFAULT,) if self.direction == "forward" else (DEFAULT, DETERMINISTIC)


@dataclass(frozen=True)
class AttentionCase(AnyCase):
    """Of the attention: ``queries`` by as many keys, in rows [B, N, D]."""

    queries: int
    key_width: int
    value_width: int
    batch: int = 1
    dtype: torch.dtype = torch.float32
    direction: str = "forward"
    op: str = "whitened_attention"
    layout: str = "rows"

    @property
    def data(self) -> AttentionCase:
        return replace(self, direction="forward")

    @property
    def title(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        widths = f"{self.key_width}/{self.value_width}"
        return f"{self.op} B={self.batch} N={self.queries} D={widths} {dtype} {self.direction}"

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.batch, self.queries, self.value_width

    @property
    def small(self) -> AttentionCase:
        return replace(self, queries=8, key_width=16, value_width=16)


def quick() -> Iterator[AnyCase]:
    """The two shapes by which the fused op is judged on a CPU, the larger one first, and between
    them the attention as the model has it at a BDD100K image."""
    directions = ("forward", "backward")
    yield from variants(Case("semantic_refine", (64, 128), (128, 256)), directions)
    yield AttentionCase(920, 256, 256)
    yield from variants(Case("semantic_refine", (32, 64), (64, 128)), directions)


def full(device: str) -> Iterator[AnyCase]:
    """The quick cases and then every family's own."""
    yield from quick()
    seen = set(quick())
    for family in FAMILIES.values():
        for case in family.full(device):
            if case not in seen:
                seen.add(case)
                yield case


def variants(
    case: Case, directions: tuple[str, ...], layouts: tuple[str, ...] = LAYOUTS
) -> Iterator[Case]:
    for direction in directions:
        for layout in layouts:
            yield replace(case, direction=direction, layout=layout)


def levels(size: Size) -> list[Size]:
    """Sizes of the maps at strides 32, 16, 8 and 4."""
    return [(math.ceil(size[0] / s), math.ceil(size[1] / s)) for s in (32, 16, 8, 4)]


def _steps(size: Size) -> Iterator[tuple[Size, Size]]:
    maps = levels(size)
    return itertools.pairwise(maps)


def _inference() -> Iterator[Case]:
    for _, size, _, _ in NETWORKS:
        for low, high in _steps(size):
            yield from variants(Case("semantic_refine", low, high), ("forward", "backward"))


def _dtypes() -> Iterator[Case]:
    for dtype in (torch.bfloat16, torch.float16):
        for low, high in list(_steps((1024, 2048)))[1:]:
            case = Case("semantic_refine", low, high, dtype=dtype)
            yield from variants(case, ("forward", "backward"))


def _fields() -> Iterator[Case]:
    for field in ("zero", "random"):
        case = Case("semantic_refine", (64, 128), (128, 256), field=field)
        yield from variants(case, ("forward", "backward"))


def _refinement(device: str) -> Iterator[Case]:
    """Every level of the decoder at inference, the other types and ops, and the training crops,
    the largest maps, last: where time is short they are left out."""
    yield from _inference()
    yield from _dtypes()
    yield from _fields()
    yield from _other_ops()
    yield from _training(device)


def _training(device: str) -> Iterator[Case]:
    for _, _, crop, batch in NETWORKS:
        for low, high in _steps(crop):
            case = Case(
                "semantic_refine", low, high, CPU_TRAINING_BATCH if device == "cpu" else batch
            )
            yield from variants(case, ("both",))


def _other_ops() -> Iterator[Case]:
    for low, high in list(_steps((1024, 2048)))[:2]:
        # A warp of a map of the same size, and SFNet's, which samples the coarser map.
        for sampled in (high, low):
            yield from variants(Case("offset_sample", sampled, high), ("forward", "backward"))
        case = Case("aggregate_offsets", high, high, channels=0)
        yield from variants(case, ("forward", "backward"), ("nchw",))


def _attention(device: str) -> Iterator[AttentionCase]:
    """The model's own widths at the networks' sizes, and those of a value four times as wide."""
    dtypes = (torch.float32,) if device == "cpu" else (torch.bfloat16, torch.float32)
    shapes = [(1, 256, 256, 256), (1, 920, 256, 256), (1, 2048, 256, 256), (1, 2048, 256, 1024)]
    if device != "cpu":
        shapes += [(16, 1024, 256, 256), (8, 1024, 64, 256), (8, 2048, 64, 256)]
        shapes += [(8, 1024, 256, 1024), (1, 8192, 256, 256)]
    for dtype in dtypes:
        for batch, queries, key_width, value_width in shapes:
            for direction in ("forward", "backward"):
                yield AttentionCase(queries, key_width, value_width, batch, dtype, direction)


def _refinement_smoke() -> Iterator[Case]:
    """Small maps with tails: odd sizes, channels that no vector divides, two images."""
    floats = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    directions = ("forward", "backward")
    for dtype in floats:
        refine = Case("semantic_refine", (6, 7), (11, 13), 2, 9, dtype, field="random")
        sample = Case("offset_sample", (11, 13), (11, 13), 1, 33, dtype, field="random")
        coarse = Case("offset_sample", (5, 9), (11, 13), 1, 64, dtype, field="random")
        for case in (refine, sample, coarse):
            yield from variants(case, directions)
        aggregate = Case("aggregate_offsets", (5, 37), (5, 37), 2, 0, dtype)
        yield from variants(aggregate, directions, LAYOUTS[:1])


def _refinement_key() -> Iterator[Case]:
    """The finest level of Cityscapes, its training crop in a batch of eight, and a map so small
    that a call costs more than its kernels."""
    shapes = (((128, 256), (256, 512), 1), ((32, 64), (64, 128), 1), ((128, 128), (256, 256), 8))
    for low, size, batch in shapes:
        for dtype in (torch.float32, torch.bfloat16):
            case = Case("semantic_refine", low, size, batch, dtype=dtype)
            for layout in LAYOUTS:
                yield from variants(case, ("forward", "backward"), (layout,))


def _attention_smoke() -> Iterator[AttentionCase]:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for direction in ("forward", "backward"):
            yield AttentionCase(75, 40, 72, 2, dtype, direction)


def _attention_key() -> Iterator[AttentionCase]:
    shapes = [(1, 2048, 256, 256), (16, 1024, 256, 256), (8, 2048, 64, 256), (1, 920, 256, 256)]
    for some in (shapes[:2], shapes[2:]):
        for dtype in (torch.bfloat16, torch.float32):
            for batch, queries, key_width, value_width in some:
                for direction in ("forward", "backward"):
                    yield AttentionCase(queries, key_width, value_width, batch, dtype, direction)
    for direction in ("forward", "backward"):
        yield AttentionCase(2048, 256, 1024, 1, torch.bfloat16, direction)


@dataclass(frozen=True)
class Family:
    """Cases of one family of ops. ``full`` is what ``python -m benchmarks`` measures on a device.
    ``smoke`` are small shapes with tails, on which everything is compared with the definition
    when a GPU is met. ``key`` are the rows by which the family is judged there; the first
    ``headline`` problems of them (a problem in a layout, in its directions) are in the README,
    and the first ``profiled`` problems are looked at kernel by kernel."""

    full: Callable[[str], Iterator[AnyCase]]
    smoke: Callable[[], Iterator[AnyCase]]
    key: Callable[[], Iterator[AnyCase]]
    headline: int
    profiled: int


# The order is that of measuring: where time is short, the last are left out.
FAMILIES: dict[str, Family] = {
    "attention": Family(_attention, _attention_smoke, _attention_key, 4, 4),
    "refinement": Family(_refinement, _refinement_smoke, _refinement_key, 4, 4),
}
