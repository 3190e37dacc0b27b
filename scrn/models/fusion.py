"""Rewrites a network for inference: finds the layers to fold, replace or round, and does it."""

from __future__ import annotations

import itertools
import logging
from collections import Counter

import torch
from torch import Tensor, fx, nn

from scrn_ops import SemanticRefinement
from scrn_ops._core.checks import without_autocast
from scrn_ops.modules import OffsetConv2d

from .backbones import TimmBackbone
from .backbones.large_kernel import Block
from .context.dappm import DAPPM
from .conv_folding import fold_after
from .fused_layers import FusedBlock, FusedRefinement
from .packed_conv import is_hooked, packed_form

logger = logging.getLogger(__name__)


@torch.no_grad()
def fuse_layers(module: nn.Module) -> None:
    """Replaces the layers of a network in place, as :func:`scrn.models.fuse` describes."""
    for name, child in list(module.named_children()):
        if isinstance(child, Block):
            setattr(module, name, FusedBlock(child))
        elif isinstance(child, SemanticRefinement):
            setattr(module, name, FusedRefinement(child))
        elif isinstance(child, TimmBackbone):
            _fold_traced(child.body)
        else:
            fuse_layers(child)
    if not isinstance(module, DAPPM):
        _fold_pairs(module)


@torch.no_grad()
def round_layers(module: nn.Module, dtype: torch.dtype) -> None:
    """Casts weights and tables in place as ``module.to(dtype)`` does, but for those whose digits
    count: the weights that predict offsets, and batch norms.

    Raises:
        ValueError: a weight is beyond the type's range.
    """
    cast: dict[int, nn.Parameter] = {}  # by id: a shared parameter stays shared
    for path, part in module.named_modules():
        if isinstance(part, OffsetConv2d) or hasattr(part, "running_var"):
            continue
        for name, parameter in part._parameters.items():
            if parameter is None or not parameter.is_floating_point():
                continue
            if id(parameter) not in cast:
                rounded = nn.Parameter(parameter.to(dtype), False)
                if rounded.isinf().sum() > parameter.isinf().sum():
                    raise ValueError(
                        f"dtype: expected weights within {dtype}'s range, got {path}.{name} beyond "
                        "it; torch.bfloat16 has float32's range"
                    )
                cast[id(parameter)] = rounded
            part._parameters[name] = cast[id(parameter)]
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                part._buffers[name] = buffer.to(dtype)


class InOwnType(nn.Module):
    """A layer that takes maps of any type in that of its weights, also under autocast."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x.device.type):
            result: Tensor = self.layer(x.to(next(self.layer.parameters()).dtype))
        return result


def _fold_pairs(module: nn.Module) -> None:
    """Folds every norm that is registered directly behind a convolution: in this package the
    order of registration is the order of execution wherever a norm is used."""
    children = list(module.named_children())
    for (name, conv), (norm_name, norm) in itertools.pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fold_after(conv, norm))
            setattr(module, norm_name, nn.Identity())


class _Tracer(fx.Tracer):
    """Enters every module that holds a batch norm, and neither convolutions nor norms."""

    def is_leaf_module(self, module: nn.Module, _name: str) -> bool:
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            return True
        return not any(isinstance(m, nn.BatchNorm2d) for m in module.modules())


def _fold_traced(body: nn.Module) -> None:
    """Folds the norms of a timm model, and lets convolutions apply the activation behind them."""
    if not any(isinstance(m, nn.BatchNorm2d) for m in body.modules()):
        return
    try:
        graph = _Tracer().trace(body)
    except Exception as error:  # any error of the traced code is one of tracing
        logger.warning("%s keeps its batch norms: torch.fx cannot trace it: %s", type(body), error)
        return
    called = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    named = list(body.named_modules(remove_duplicate=False))
    names = Counter(id(module) for _, module in named)
    # Those that have one name and are called once: they can be exchanged.
    modules = {name: m for name, m in named if names[id(m)] == 1 and called[name] == 1}
    # A hook sees a map that would be another one, wherever it is.
    absorbs = not any(map(is_hooked, body.modules()))
    for node in graph.nodes:
        norm = modules.get(str(node.target))
        if node.op != "call_module" or not isinstance(norm, nn.BatchNorm2d) or is_hooked(norm):
            continue
        source = node.args[0]
        conv = modules.get(str(source.target))
        if source.op != "call_module" or not isinstance(conv, nn.Conv2d) or len(source.users) > 1:
            continue
        conv, behind = fold_after(conv, norm), _behind(norm)
        quick = packed_form(conv) if absorbs else None
        if quick is not None:
            conv = quick
            follower = None if behind else _follower(node, modules)
            if len(behind) == 1 and quick.absorb(behind[0]):
                behind = []
            elif follower is not None and quick.absorb(modules[follower]):
                body.set_submodule(follower, nn.Identity())
        body.set_submodule(source.target, conv)
        body.set_submodule(node.target, nn.Sequential(*behind) if behind else nn.Identity())


def _behind(norm: nn.Module) -> list[nn.Module]:
    """What a norm does besides normalising: timm's may hold dropout and activation."""
    extras = (getattr(norm, name, None) for name in ("drop", "act"))
    return [each for each in extras if each is not None and type(each) is not nn.Identity]


def _follower(node: fx.Node, modules: dict[str, nn.Module]) -> str | None:
    """The one module, of these, that takes a node's result, those that pass it on apart."""
    while len(node.users) == 1:
        (node,) = node.users
        target = str(node.target)
        if node.op != "call_module" or target not in modules:
            return None
        if type(modules[target]) is not nn.Identity:
            return target
    return None
