"""Upsamplers: a low-resolution map brought to a high-resolution one, and merged with it.

Every upsampler maps ``(low, high)``, [B, low_channels, h, w] and [B, high_channels, H, W], to
[B, low_channels, H, W] with ``high`` added, or without it where it was built with
``add_skip=False``. ``scrn_ops.SemanticRefinement`` is the paper's.
"""

from __future__ import annotations

from torch import nn

from scrn_ops import SemanticRefinement

from .align_fa import AlignFA
from .bilinear import Bilinear
from .fam import FAM

__all__ = [
    "FAM",
    "UPSAMPLERS",
    "AlignFA",
    "Bilinear",
    "SemanticRefinement",
    "create_upsampler",
]

UPSAMPLERS: dict[str, type[nn.Module]] = {
    "bilinear": Bilinear,
    "fam": FAM,
    "align_fa": AlignFA,
    "srm": SemanticRefinement,
}


def create_upsampler(
    name: str,
    low_channels: int,
    high_channels: int,
    *,
    add_skip: bool = True,
    backend: str | None = None,
) -> nn.Module:
    """The upsampler of that name.

    Args:
        name: a key of ``UPSAMPLERS``.
        low_channels, high_channels: widths of the two maps; equal where ``add_skip``.
        add_skip: add the high-resolution map to the result.
        backend: of the ops of :mod:`scrn_ops`.

    Raises:
        ValueError: an unknown name or backend, or widths that differ with ``add_skip``.
    """
    if name not in UPSAMPLERS:
        known = ", ".join(repr(key) for key in UPSAMPLERS)
        raise ValueError(f"upsampler: expected one of {known}, got {name!r}")
    return UPSAMPLERS[name](low_channels, high_channels, add_skip=add_skip, backend=backend)
