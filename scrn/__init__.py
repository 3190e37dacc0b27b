"""SCRN: semantic segmentation with semantic and contextual refinement."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scrn_ops._core.allocator import keep_freed_memory

    from .engine.weights import load_model
    from .models import SCRN

__all__ = ["SCRN", "build_model", "keep_freed_memory", "load_model"]


def __getattr__(name: str) -> Any:
    # At first use: the command says which extra is missing, which it could not if this failed.
    if name == "keep_freed_memory":
        return import_module("scrn_ops._core.allocator").keep_freed_memory
    if name == "load_model":
        return _imported(".engine.weights", "train").load_model
    if name not in ("SCRN", "models"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    models = _imported(".models", "network")
    return models if name == "models" else models.SCRN


def _imported(module: str, extra: str) -> Any:
    from ._extras import hint

    try:
        return import_module(module, __name__)
    except ModuleNotFoundError as error:
        advice = hint(error, extra)
        if not advice:
            raise
        raise ModuleNotFoundError(f"{error}: {advice}", name=error.name) from error


def build_model(
    backbone: str = "mscan_s",
    *,
    upsampler: str = "srm",
    context: str = "crm",
    num_classes: int = 19,
    pretrained: str | Path | None = None,
    ops: str = "fused",
) -> SCRN:
    """The network: normalised images [B, 3, H, W] to logits [B, num_classes, H, W].

    Any H and W from 32. The defaults are the paper's network for Cityscapes.

    Args:
        backbone: ``"mscan_t"``, ``_s``, ``_b``, ``_l``, ``"van_t"``, ``_s``, ``_b``, ``_l``, or
            ``"timm:<name>"``.
        upsampler: ``"bilinear"``, ``"fam"``, ``"align_fa"`` or ``"srm"``.
        context: ``"f4"``, ``"none"``, ``"ppm"``, ``"dappm"``, ``"ccam"``, ``"dam"``, ``"crm"``,
            ``"crm_scaled"`` or ``"crm_shortcut"``.
        num_classes: channels of the logits.
        pretrained: an official checkpoint of the backbone; see
            :func:`scrn.models.load_pretrained`, whose report is logged.
        ops: ``"fused"``, ``"eager"`` or ``"reference"``; the weights are the same.

    Raises:
        TypeError: ``num_classes`` is no int, or ``pretrained`` no path.
        ValueError: an unknown name, or a checkpoint of another backbone.
        FileNotFoundError: no such checkpoint.
        ModuleNotFoundError: the extra "network" is not installed.
    """
    models = _imported(".models", "network")
    if pretrained is not None and not isinstance(pretrained, str | Path):
        raise TypeError(f"pretrained: expected the path of a checkpoint, got {pretrained!r}")
    network = {"upsampler": upsampler, "context": context, "num_classes": num_classes, "ops": ops}
    model: SCRN = models.SCRN(backbone, **network)
    if pretrained is not None:
        models.load_pretrained(model.backbone, pretrained)
    return model
