"""Calls of the launchers that are looked at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor

from scrn_ops.attention import table
from scrn_ops.attention.kernels import replay
from scrn_ops.attention.kernels.backward import backward
from scrn_ops.attention.kernels.forward import forward
from scrn_ops.attention.layout import empty_output

from .driver import DryDriver, device, recording
from .record import Launch

# (B, N = M, Dk, Dv): those that docs/attention.md and the measurements are about.
SHAPES = (
    (1, 2048, 256, 256),
    (16, 1024, 256, 256),
    (8, 2048, 64, 256),
    (1, 920, 256, 256),
    (1, 2048, 256, 1024),
    (1, 256, 256, 256),
    (1, 8192, 256, 256),
)
LAYOUTS = ("contiguous", "channel_major")
# Products of "fp32" are exact to float32, those of "tf32" are made of operands rounded to TF32.
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "tf32": torch.float32}
DIRECTIONS = ("forward", "backward")
NOWHERE = "nowhere"
ONE_CHUNK = 1 << 40  # bytes: more scores than any call has
# Where Triton specialises on the first image and row of a chunk, 0, 1 and other numbers differ.
CHUNKED = (3, 920, 256, 256)
FEW_ROWS = 1 << 20


class Case(NamedTuple):
    family: int
    shape: tuple[int, int, int, int]
    direction: str
    dtype: str = "bf16"
    layout: str = "contiguous"
    path: str | None = None
    chunk_bytes: int = table.CHUNK_BYTES

    def __str__(self) -> str:
        b, n, dk, dv = self.shape
        words = [f"sm_{self.family}", f"{b}x{n}x{dk}x{dv}", self.direction, self.dtype]
        words += [self.layout] if self.layout != LAYOUTS[0] else []
        words += [self.path] if self.path else []
        words += [f"chunks_of_{self.chunk_bytes}"] if self.chunk_bytes != table.CHUNK_BYTES else []
        return "-".join(words)


def cases(
    families: Iterable[int],
    dtypes: Iterable[str] = ("bf16", "fp32"),
    layouts: Iterable[str] = LAYOUTS,
    shapes: Iterable[tuple[int, int, int, int]] = SHAPES,
) -> Iterator[Case]:
    shapes, layouts, dtypes = tuple(shapes), tuple(layouts), tuple(dtypes)
    for family in families:
        for dtype in dtypes:
            for layout in layouts:
                for shape in shapes:
                    for direction in DIRECTIONS:
                        yield Case(family, shape, direction, dtype, layout)


def chunked(direction: str) -> Case:
    """A call whose scores are worked through in several chunks for each of its images."""
    path = "split_softmax" if direction == "forward" else None
    return Case(90, CHUNKED, direction, path=path, chunk_bytes=FEW_ROWS)


def empty(case: Case, *sizes: int) -> Tensor:
    """Memory that nobody looks at, with the case's type and order of axes."""
    if case.layout == "channel_major" and len(sizes) == 3:
        return torch.empty(sizes[0], sizes[2], sizes[1], dtype=DTYPES[case.dtype]).transpose(1, 2)
    return torch.empty(sizes, dtype=DTYPES[case.dtype])


def tensors_of(case: Case) -> dict[str, Tensor]:
    """What the launchers of the case's direction take."""
    b, n, dk, dv = case.shape
    inputs = {
        "query": empty(case, b, n, dk),
        "key": empty(case, b, n, dk),
        "unary": empty(case, b, n),
        "value": empty(case, b, n, dv),
    }
    if case.direction == "forward":
        return inputs
    output = empty_output(inputs["value"], n)
    grad = {"grad": torch.empty_like(output)}
    statistics = {"log_sum_exp": torch.empty(b, n), "shared": torch.empty(b, dv)}
    return {**grad, **inputs, "output": output, **statistics}


EVERY_GRADIENT = (True,) * 4


def function_of(
    case: Case,
    tensors: dict[str, Tensor],
    scale: float = 0.125,
    needs: tuple[bool, ...] = EVERY_GRADIENT,
) -> Callable[[], tuple[Tensor, ...]]:
    """The call of the launchers, as often as one likes."""
    arguments = tuple(tensors.values())
    half = DTYPES[case.dtype].itemsize == 2  # of which the forward keeps its pairwise term
    if case.direction == "forward":
        return lambda: forward(*arguments, scale, case.path, half)
    pairwise = tensors["output"] if half else tensors["value"].new_empty(0)
    return lambda: backward(*arguments, pairwise, scale, needs)


@functools.cache
def plans_of(chunk_bytes: int) -> dict[Any, Any]:
    """What the launchers wrote down. They do so for one size of chunks, which never changes."""
    return {}


@contextmanager
def prepared(case: Case) -> Iterator[DryDriver]:
    """A device, with the case's bytes in a chunk and its products."""
    chunks = mock.patch.object(table, "CHUNK_BYTES", case.chunk_bytes)
    plans = mock.patch.object(replay, "_plans", plans_of(case.chunk_bytes))
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    with chunks, plans, device(case.family) as dry:
        matmul.fp32_precision = "tf32" if case.dtype == "tf32" else "ieee"
        try:
            yield dry
        finally:
            matmul.fp32_precision = before


class Recorded(NamedTuple):
    """A call's launches, and the addresses and sizes in bytes of what it was given and returned."""

    launches: list[Launch]
    places: dict[str, tuple[int, int]]

    def named(self, address: int) -> str | None:
        """The tensor at an address, and how far in; memory of the call's own has no name. Where a
        kernel is given an empty tensor there is no address."""
        if address == 0:
            return NOWHERE
        for name, (start, size) in self.places.items():
            if start <= address < start + size:
                return f"{name}+{address - start}"
        return None

    def scratch(self) -> int:
        """Where the memory of the call's own begins, which is one piece."""
        return min(
            value
            for launch in self.launches
            for (_, kind), value in zip(launch.kernel.arguments, launch.arguments, strict=True)
            if kind.startswith("*") and self.named(value) is None
        )

    def described(self) -> list[tuple[str, tuple[int, int, int], tuple[object, ...]]]:
        """Kernel, grid and arguments of every launch, with names in place of addresses."""
        scratch = self.scratch()
        return [
            (
                launch.kernel.hash,
                launch.grid,
                tuple(
                    (self.named(value) or f"scratch+{value - scratch}")
                    if kind.startswith("*")
                    else value
                    for (_, kind), value in zip(
                        launch.kernel.arguments, launch.arguments, strict=True
                    )
                ),
            )
            for launch in self.launches
        ]


def record(case: Case, tensors: dict[str, Tensor] | None = None, **options: Any) -> Recorded:
    """One call's launches, in their order; ``options`` are those of ``function_of``."""
    tensors = tensors_of(case) if tensors is None else tensors
    with prepared(case) as dry, recording(dry) as launches:
        results = function_of(case, tensors, **options)()
    known = {**tensors, **{f"result {i}": result for i, result in enumerate(results)}}
    places = {
        name: (t.untyped_storage().data_ptr(), t.untyped_storage().nbytes())
        for name, t in known.items()
    }
    return Recorded(launches, places)
