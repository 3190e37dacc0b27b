"""The network rewritten for inference."""

from __future__ import annotations

import copy
import itertools
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from scrn_ops import SemanticRefinement

from .backbones import TimmBackbone
from .backbones.large_kernel import Block
from .context.dappm import DAPPM
from .folding import fold_after
from .fused import FusedBlock, FusedRefinement, InplaceGELU
from .network import SCRN

logger = logging.getLogger(__name__)


class FusedSCRN(SCRN):
    """What :func:`fuse` returns: for inference alone."""

    @torch.no_grad()
    def decode(self, image: Tensor) -> list[Tensor]:
        return super().decode(image)

    @torch.no_grad()
    def forward(self, image: Tensor, return_embedding: bool = False) -> Tensor:
        if return_embedding:
            raise ValueError("return_embedding: a fused model has no embedding head")
        return super().forward(image)

    def train(self, mode: bool = True) -> FusedSCRN:
        if mode:
            raise ValueError("train: a fused model is for inference; train the original")
        return super().train(False)

    def fuse(self) -> SCRN:
        raise ValueError("fuse: the model is fused already")

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> Any:
        raise ValueError(
            "save_pretrained: a fused model cannot be built again from its arguments; save the "
            "model that fuse() was called on, and fuse it after loading"
        )


@torch.no_grad()
def fuse(model: SCRN) -> FusedSCRN:
    """A copy of the model for inference, with the same outputs to rounding.

    - Batch norms are folded into the convolution before or behind them, layer scales into the
      one before them. A norm with an activation on both sides, as in DAPPM, stays.
    - The refinement modules' compressing convolution runs before the upsampling, and the hidden
      convolutions of its two branches are one.
    - Activations, sums and products overwrite maps that are not needed any more; MLPs run in
      bands of rows on the CPU. The embedding head is dropped.

    Of a timm backbone the norms that directly follow a convolution are folded. If torch.fx cannot
    trace it, it stays as it is, and a warning says so.

    The copy keeps device, dtype and layout; channels_last is the faster one on the CPU.
    """
    fused = copy.deepcopy(model).eval()
    fused.__class__ = FusedSCRN
    fused.embedding = None
    if isinstance(fused.backbone, TimmBackbone):
        _fold_traced(fused.backbone.body)
    _replace(fused)
    return fused.requires_grad_(False)


def _replace(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, Block):
            setattr(module, name, FusedBlock(child))
        elif isinstance(child, SemanticRefinement):
            setattr(module, name, FusedRefinement(child))
        elif isinstance(child, nn.GELU) and child.approximate == "none":
            # In every GELU of this package the input is a convolution's output.
            setattr(module, name, InplaceGELU())
        elif not isinstance(child, TimmBackbone):
            _replace(child)
    if not isinstance(module, DAPPM):
        _fold_pairs(module)


def _fold_pairs(module: nn.Module) -> None:
    """Folds every norm that is registered directly behind a convolution: in this package the
    order of registration is the order of execution wherever a norm is used."""
    children = list(module.named_children())
    for (name, conv), (norm_name, norm) in itertools.pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fold_after(conv, norm))
            setattr(module, norm_name, nn.Identity())


class _Tracer(fx.Tracer):
    """Looks into everything but the layers that matter, and what holds none of them."""

    def is_leaf_module(self, module: nn.Module, _name: str) -> bool:
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            return True
        return not any(isinstance(m, nn.BatchNorm2d) for m in module.modules())


def _fold_traced(body: nn.Module) -> None:
    if not any(isinstance(m, nn.BatchNorm2d) for m in body.modules()):
        return
    try:
        graph = _Tracer().trace(body)
    except Exception as error:  # any error of the traced code is one of tracing
        logger.warning("%s keeps its batch norms: torch.fx cannot trace it: %s", type(body), error)
        return
    modules = dict(body.named_modules())
    called = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
            continue
        source = node.args[0]
        if (
            source.op != "call_module"
            or not isinstance(modules[source.target], nn.Conv2d)
            or len(source.users) > 1
            or called.count(source.target) > 1
            or called.count(node.target) > 1
        ):
            continue
        norm = modules[node.target]
        body.set_submodule(source.target, fold_after(modules[source.target], norm))
        body.set_submodule(node.target, _behind(norm))


def _behind(norm: nn.BatchNorm2d) -> nn.Module:
    """What a norm does besides normalising: timm's may hold dropout and activation."""
    extras = [m for m in (getattr(norm, "drop", None), getattr(norm, "act", None)) if m]
    return nn.Sequential(*extras) if extras else nn.Identity()
