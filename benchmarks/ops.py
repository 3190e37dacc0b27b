"""The registry: how each op's inputs are made, and the implementations that are compared."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import scrn_ops
from scrn_ops import eager, reference

from . import peers
from .cases import AnyCase, AttentionCase, Case

Arguments = dict[str, Tensor]
Function = Callable[..., Tensor]
Generator = torch.Generator | None  # None: nothing is drawn, see shapes()


# Of the definition's result, in half types: how many times its error one of ours may have.
OURS_ROUNDINGS = 1.5


@dataclass(frozen=True)
class Op:
    """``make`` draws the arguments of a case; ``points`` gives the sampling points [B, 2, H, W]
    in units of whose integers the gradient of the offset is not continuous, if there are any.
    ``peers`` are what other libraries have for a case, where their semantics are the op's;
    ``paths`` are ways through the op on CUDA that are taken whatever its table says. ``case`` is
    the class of the op's cases, ``features`` are the arguments that have the case's layout, and
    ``passed`` those whose gradient is the incoming one, which moves no bytes. ``launches`` counts
    the kernels of a case by hand, where the operators that torch sees do not tell.
    ``gradient_roundings_on_cuda`` is the gate's allowance for gradients in half types there."""

    make: Callable[[Any, Generator], Arguments]
    implementations: dict[str, Function]
    definition: Function
    points: Callable[[Arguments], Tensor] | None
    peers: Callable[[Any], dict[str, Function]] = lambda case: {}
    paths: Mapping[str, Function] = field(default_factory=dict)
    case: type[AnyCase] = Case
    features: tuple[str, ...] = ("low", "skip", "input")
    passed: tuple[str, ...] = ()
    launches: Callable[[Any], int] | None = None
    gradient_roundings_on_cuda: float = OURS_ROUNDINGS


def refine_arguments(case: Case, generator: Generator) -> Arguments:
    height, width = case.size
    return {
        "low": _randn(generator, case.batch, case.channels, *case.low).to(case.dtype),
        "offset": offsets(case, generator),
        "mask": _randn(generator, case.batch, 9, height, width).to(case.dtype),
        "skip": _randn(generator, case.batch, case.channels, height, width).to(case.dtype),
    }


def sample_arguments(case: Case, generator: Generator) -> Arguments:
    input = _randn(generator, case.batch, case.channels, *case.low).to(case.dtype)
    return {"input": input, "offset": offsets(case, generator)}


def aggregate_arguments(case: Case, generator: Generator) -> Arguments:
    height, width = case.size
    mask = _randn(generator, case.batch, 9, height, width).to(case.dtype)
    return {"offset": offsets(case, generator), "mask": mask}


def attention_arguments(case: AttentionCase, generator: Generator) -> Arguments:
    """Means away from zero, as they are behind a convolution with a bias."""
    sizes = {
        "query": (case.batch, case.queries, case.key_width),
        "key": (case.batch, case.queries, case.key_width),
        "unary": (case.batch, case.queries),
        "value": (case.batch, case.queries, case.value_width),
    }
    return {name: _randn(generator, *size).add(1).to(case.dtype) for name, size in sizes.items()}


def offsets(case: Case, generator: Generator) -> Tensor:
    """Offsets [B, 2, H, W] in float32, as the models compute them also for half types."""
    height, width = case.size
    if generator is None:
        return _randn(generator, case.batch, 2, height, width)
    if case.field == "zero":
        return torch.zeros(case.batch, 2, height, width)
    if case.field == "random":
        return 2 * _randn(generator, case.batch, 2, height, width)
    coarse = _randn(generator, case.batch, 2, height // 16 + 2, width // 16 + 2)
    smooth = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    return smooth * (1.5 / smooth.square().sum(1).mean().sqrt())


def arguments(case: AnyCase, device: str) -> Arguments:
    """The arguments and ``grad``, the gradient of the result, in the case's layout. The numbers
    depend on nothing but the case's shape, type and field."""
    seed = zlib.crc32(case.data.name.encode())
    made = _laid_out(case, torch.Generator().manual_seed(seed))
    return {name: tensor.to(device) for name, tensor in made.items()}


def shapes(case: AnyCase) -> Arguments:
    """The arguments without their numbers, within a FakeTensorMode."""
    return _laid_out(case, None)


def _laid_out(case: AnyCase, generator: Generator) -> Arguments:
    made = OPS[case.op].make(case, generator)
    made["grad"] = _randn(generator, *case.output_shape).to(case.dtype)
    for name in (*OPS[case.op].features, "grad"):
        if name in made and case.layout == "channels_last":
            made[name] = made[name].contiguous(memory_format=torch.channels_last)
    return made


def implementations(case: AnyCase, device: str) -> dict[str, Function]:
    """What is compared, but for the baseline's compilation."""
    op = OPS[case.op]
    made = {**op.implementations, **op.peers(case)}
    if torch.device(device).type == "cuda":
        made |= op.paths
    return made


def _randn(generator: Generator, *shape: int) -> Tensor:
    if generator is None:
        return torch.empty(shape)
    return torch.randn(shape, generator=generator)


def _attend(function: Function) -> Function:
    def call(query: Tensor, key: Tensor, unary: Tensor, value: Tensor) -> Tensor:
        return function(query, key, unary, value, scale=query.shape[2] ** -0.5)

    return call


def _refine(function: Function) -> Function:
    def call(low: Tensor, offset: Tensor, mask: Tensor, skip: Tensor) -> Tensor:
        return function(low, offset, mask, skip, mask_is_logits=True)

    return call


def _aggregate(function: Function) -> Function:
    def call(offset: Tensor, mask: Tensor) -> Tensor:
        return function(offset, mask, mask_is_logits=True)

    return call


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


def _launches(case: Case) -> int:
    """As the launchers of csrc/srm/cuda go: without the deterministic mode."""
    forward = 1
    if case.op == "aggregate_offsets":
        backward = 1
    else:
        # Zeros to add to; then one kernel in channels_last, and two in NCHW.
        backward = 2 if case.layout == "channels_last" else 3
        if case.dtype in (torch.float16, torch.bfloat16):
            backward += 1  # the sums, which are float32, are rounded
        if case.op == "semantic_refine":
            backward += 1  # Eq. 3's gradients
    return {"forward": forward, "backward": backward, "both": forward + backward}[case.direction]


# Either way through the attention, whatever the table says.
PATHS = {
    f"fused, {path}": _attend(functools.partial(scrn_ops.whitened_attention, path=path))
    for path in ("flash", "split_softmax")
}

OPS: dict[str, Op] = {
    "semantic_refine": Op(
        make=refine_arguments,
        implementations={
            "fused": _refine(scrn_ops.semantic_refine),
            "eager": _refine(eager.semantic_refine),
        },
        definition=_refine(reference.semantic_refine),
        points=_refine_points,
        peers=peers.refine,
        passed=("skip",),
        launches=_launches,
    ),
    "offset_sample": Op(
        make=sample_arguments,
        implementations={"fused": scrn_ops.offset_sample, "eager": eager.offset_sample},
        definition=reference.offset_sample,
        points=_sample_points,
        peers=peers.sample,
        launches=_launches,
    ),
    "aggregate_offsets": Op(
        make=aggregate_arguments,
        implementations={
            "fused": _aggregate(scrn_ops.aggregate_offsets),
            "eager": _aggregate(eager.aggregate_offsets),
        },
        definition=_aggregate(reference.aggregate_offsets),
        points=None,
        launches=_launches,
    ),
    "whitened_attention": Op(
        make=attention_arguments,
        implementations={
            "fused": _attend(scrn_ops.whitened_attention),
            "eager": _attend(eager.whitened_attention),
        },
        definition=_attend(reference.whitened_attention),
        points=None,
        peers=peers.attend,
        paths=PATHS,
        case=AttentionCase,
        # Tensor cores take rounded weights and slopes. On an H100 the key's gradient was off by
        # 3.9e-3, SDPA's by 3.7e-3, where one rounding to bfloat16 is about 1.7e-3.
        gradient_roundings_on_cuda=3.0,
    ),
}

OURS = "fused"
BASELINE = "eager"
COMPILED = "torch.compile"  # of the baseline
FLOOR = "torch.add(out=)"
COPY = "copy"  # of as many bytes as the op has to move
