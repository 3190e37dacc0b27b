"""The attention, in the shapes that the model has it in and in those of other networks."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

import scrn_ops
from scrn_ops.attention import table

from ..case import OURS, Arguments, Case, Family, Function, Generator, Op, Peer, draw, implemented

SDPA = "SDPA + rank-1"
FLEX = "FlexAttention"


@dataclass(frozen=True)
class AttentionCase(Case):
    """``queries`` by as many keys, in rows [B, N, D]."""

    queries: int
    key_width: int
    value_width: int
    _: KW_ONLY
    op: str = "whitened_attention"
    layout: str = "rows"

    layouts: ClassVar[tuple[str, ...]] = ("rows",)

    @property
    def operation(self) -> Op:
        return OPS[self.op]

    @property
    def about(self) -> str:
        return f"N={self.queries} D={self.key_width}/{self.value_width} {self.dtype_name}"

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.batch, self.queries, self.value_width

    @property
    def small(self) -> AttentionCase:
        return replace(self, queries=8, key_width=16, value_width=16)


def attention_arguments(case: AttentionCase, generator: Generator) -> Arguments:
    """Means away from zero, as they are behind a convolution with a bias."""
    sizes = {
        "query": (case.batch, case.queries, case.key_width),
        "key": (case.batch, case.queries, case.key_width),
        "unary": (case.batch, case.queries),
        "value": (case.batch, case.queries, case.value_width),
    }
    return {name: draw(generator, *size).add(1).to(case.dtype) for name, size in sizes.items()}


def _attend(function: Function) -> Function:
    def call(query: Tensor, key: Tensor, unary: Tensor, value: Tensor) -> Tensor:
        return function(query, key, unary, value, scale=query.shape[2] ** -0.5)

    return call


def peers(case: AttentionCase) -> dict[str, Peer]:
    """The shared term added to torch's attention of whitened embeddings."""
    about = "torch's `scaled_dot_product_attention` plus the shared term"
    made = {SDPA: Peer(_attend_by_sdpa, about)}
    if case.dtype != torch.float64 and case.direction == "forward":
        made[FLEX] = Peer(_attend_by_flex, FLEX, compiled=True)
    return made


def paths(case: AttentionCase) -> dict[str, Function]:
    """Either way through Triton's kernels, which are for half types."""
    names = table.PATHS if case.dtype.itemsize == 2 else ()
    attend = scrn_ops.whitened_attention
    return {f"{OURS}, {path}": _attend(functools.partial(attend, path=path)) for path in names}


def _whiten(tensor: Tensor) -> Tensor:
    """In float32, and then rounded once, as the op does."""
    wide = tensor.float()
    return (wide - wide.mean(dim=1, keepdim=True)).to(tensor.dtype)


def _shared(unary: Tensor, value: Tensor) -> Tensor:
    return unary.float().softmax(dim=1).to(value.dtype).unsqueeze(1) @ value


def _attend_by_sdpa(query: Tensor, key: Tensor, unary: Tensor, value: Tensor) -> Tensor:
    heads = (each.unsqueeze(1) for each in (_whiten(query), _whiten(key), value))
    pairwise = F.scaled_dot_product_attention(*heads).squeeze(1)
    return pairwise + _shared(unary, value)


def _attend_by_flex(query: Tensor, key: Tensor, unary: Tensor, value: Tensor) -> Tensor:
    heads = (each.unsqueeze(1) for each in (_whiten(query), _whiten(key), value))
    return _flex()(*heads).squeeze(1) + _shared(unary, value)


@functools.cache
def _flex() -> Function:
    """Uncompiled it is a plain formula that nobody uses."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


OPS = {
    "whitened_attention": Op(
        make=attention_arguments,
        **implemented(lambda module: _attend(module.whitened_attention)),
        peers=peers,
        paths=paths,
        # Tensor cores take rounded weights and slopes. On an H200 the query's gradient was off by
        # up to 7.3e-3, SDPA's by 7.5e-3, where one rounding to bfloat16 is about 1.7e-3.
        gradient_roundings_on_cuda=5.0,
    )
}


def quick() -> Iterator[AttentionCase]:
    """As the model has it at a BDD100K image."""
    yield AttentionCase(920, 256, 256)


def full(device: str) -> Iterator[AttentionCase]:
    """The model's own widths at the networks' sizes, and those of a value four times as wide."""
    dtypes = (torch.bfloat16, torch.float32)
    shapes = [(1, n, 256, 256) for n in (256, 920, 2048)]
    if device == "cpu":
        dtypes = (torch.float32, torch.bfloat16, torch.float16)
        shapes.insert(0, (1, 64, 256, 256))
        yield from _cases([(1, 2048, 256, 1024)], dtypes[:1])
    else:
        shapes += [(16, 1024, 256, 256), (8, 1024, 64, 256), (8, 2048, 64, 256)]
        shapes += [(1, 2048, 256, 1024), (8, 1024, 256, 1024), (1, 8192, 256, 256)]
    yield from _cases(shapes, dtypes)


def smoke() -> Iterator[AttentionCase]:
    yield from _cases([(2, 75, 40, 72)], (torch.float32, torch.bfloat16, torch.float16))


def key() -> Iterator[AttentionCase]:
    dtypes = (torch.bfloat16, torch.float32)
    yield from _cases([(1, 2048, 256, 256), (16, 1024, 256, 256)], dtypes)
    yield from _cases([(8, 2048, 64, 256), (1, 920, 256, 256)], dtypes)
    yield from _cases([(1, 2048, 256, 1024)], dtypes[:1])


def _cases(
    shapes: list[tuple[int, int, int, int]], dtypes: tuple[torch.dtype, ...]
) -> Iterator[AttentionCase]:
    for dtype, (batch, *sizes) in itertools.product(dtypes, shapes):
        yield from AttentionCase(*sizes, batch=batch, dtype=dtype).variants()


FAMILY = Family(AttentionCase, OPS, quick, full, smoke, key, 4, 4)
