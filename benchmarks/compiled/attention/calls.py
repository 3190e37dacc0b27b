"""Calls of the launchers that are looked at."""

from __future__ import annotations

import functools
import itertools
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
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
DIRECTIONS = ("forward", "backward")


class Case(NamedTuple):
    family: int
    shape: tuple[int, int, int, int]
    direction: str
    dtype: str = "bf16"
    layout: str = "contiguous"
    path: str | None = None
    chunk_bytes: int = table.CHUNK_BYTES
    keep: bool = True  # the pairwise term, as for a call that is differentiated

    def __str__(self) -> str:
        b, n, dk, dv = self.shape
        words = [f"sm_{self.family}", f"{b}x{n}x{dk}x{dv}", self.direction, self.dtype]
        words += [self.layout] if self.layout != LAYOUTS[0] else []
        words += [self.path] if self.path else []
        words += [f"chunks_of_{self.chunk_bytes}"] if self.chunk_bytes != table.CHUNK_BYTES else []
        words += [] if self.keep else ["not_kept"]
        return "-".join(words)


def cases(
    families: Iterable[int],
    dtypes: Iterable[str] = DTYPES,
    layouts: Iterable[str] = LAYOUTS,
    shapes: Iterable[tuple[int, int, int, int]] = SHAPES,
) -> Iterator[Case]:
    for family, dtype, layout, shape, direction in itertools.product(
        families, dtypes, layouts, shapes, DIRECTIONS
    ):
        yield Case(family, shape, direction, dtype, layout)


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
    if case.direction == "forward":
        return lambda: forward(*arguments, scale, case.path, case.keep)
    pairwise = tensors["output"] if case.keep else tensors["value"].new_empty(0)
    return lambda: backward(*arguments, pairwise, scale, needs)


@functools.cache
def plans_of(chunk_bytes: int) -> dict[Any, Any]:
    """What the launchers wrote down. They do so for one size of chunks, which never changes."""
    return {}


@contextmanager
def prepared(case: Case) -> Iterator[DryDriver]:
    """A device, with the case's bytes in a chunk."""
    chunks = mock.patch.object(table, "CHUNK_BYTES", case.chunk_bytes)
    plans = mock.patch.object(replay, "_plans", plans_of(case.chunk_bytes))
    with chunks, plans, device(case.family) as dry:
        yield dry


def record(
    case: Case, tensors: dict[str, Tensor] | None = None, **options: Any
) -> tuple[list[Launch], tuple[Tensor, ...]]:
    """One call's launches, in their order, and its results; ``options`` are those of
    ``function_of``."""
    tensors = tensors_of(case) if tensors is None else tensors
    with prepared(case) as dry, recording(dry) as launches:
        results = function_of(case, tensors, **options)()
    return launches, results
