"""SCRN: semantic segmentation with semantic and contextual refinement."""

from __future__ import annotations

from pathlib import Path

from .models import SCRN, load_pretrained

__all__ = ["SCRN", "build_model"]


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
        context: ``"f4"``, ``"none"``, ``"ppm"``, ``"dappm"``, ``"ccam"``, ``"dam"`` or ``"crm"``.
        num_classes: channels of the logits.
        pretrained: an official checkpoint of the backbone; see
            :func:`scrn.models.load_pretrained`, whose report is logged.
        ops: ``"fused"``, ``"eager"`` or ``"reference"``; the weights are the same.

    Raises:
        ValueError: an unknown name, or a checkpoint of another backbone.
        FileNotFoundError: no such checkpoint.
        ModuleNotFoundError: ``timm:`` where timm is not installed.
    """
    model = SCRN(backbone, upsampler=upsampler, context=context, num_classes=num_classes, ops=ops)
    if pretrained is not None:
        load_pretrained(model.backbone, pretrained)
    return model
