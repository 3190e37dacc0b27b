"""Backbones: feature maps of strides 4, 8, 16 and 32 from an image.

Stage i of MSCAN and VAN, counted from 1, has size ceil(H / 2^(i+1)).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .base import Backbone
from .mscan import MSCAN
from .pretrained import PretrainedReport, load_pretrained
from .timm import TimmBackbone
from .van import VAN

__all__ = [
    "BACKBONES",
    "MSCAN",
    "VAN",
    "Backbone",
    "PretrainedReport",
    "TimmBackbone",
    "create_backbone",
    "load_pretrained",
]

_TINY = (32, 64, 160, 256)
_WIDE = (64, 128, 320, 512)

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "mscan_t": partial(MSCAN, _TINY, (3, 3, 5, 2)),
    "mscan_s": partial(MSCAN, _WIDE, (2, 2, 4, 2)),
    "mscan_b": partial(MSCAN, _WIDE, (3, 3, 12, 3)),
    "mscan_l": partial(MSCAN, _WIDE, (3, 5, 27, 3), drop_path=0.3),
    "van_t": partial(VAN, _TINY, (3, 3, 5, 2)),
    "van_s": partial(VAN, _WIDE, (2, 2, 4, 2)),
    "van_b": partial(VAN, _WIDE, (3, 3, 12, 3)),
    "van_l": partial(VAN, _WIDE, (3, 5, 27, 3), drop_path=0.3),
}


def create_backbone(name: str, ops: str = "fused") -> Backbone:
    """The backbone of that name: a key of ``BACKBONES``, or ``timm:<name>`` for a model of timm.

    Args:
        name: the name.
        ops: backend of the depthwise units of :mod:`scrn_ops` in MSCAN and VAN: ``"fused"``,
            ``"eager"`` or ``"reference"``; timm's models have none.

    Raises:
        ValueError: an unknown name, or a timm model without maps of strides 4, 8, 16 and 32.
        ModuleNotFoundError: ``timm:`` where timm is not installed.
    """
    if name.startswith("timm:"):
        return TimmBackbone(name.removeprefix("timm:"))
    if name not in BACKBONES:
        known = ", ".join(repr(key) for key in BACKBONES)
        raise ValueError(f"backbone: expected one of {known} or 'timm:<name>', got {name!r}")
    return BACKBONES[name](ops=ops)
