"""Context modules, which make the decoder's top map.

Every context module maps the four maps of a backbone (strides 4, 8, 16 and 32) to one map of
stride 32: [B, C_l, H_l, W_l] for l = 1..4 to [B, out_channels, H_4, W_4].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from .ccam import CrissCrossContext
from .crm import ContextualRefinement
from .dam import DualAttention
from .dappm import DAPPM
from .ppm import PyramidPooling
from .projection import LastStage, MultiStage

__all__ = [
    "CONTEXTS",
    "DAPPM",
    "ContextualRefinement",
    "CrissCrossContext",
    "DualAttention",
    "LastStage",
    "MultiStage",
    "PyramidPooling",
    "create_context",
]

_REFINEMENTS: dict[str, Callable[..., nn.Module]] = {
    "crm": ContextualRefinement,
    "crm_scaled": partial(ContextualRefinement, use_scale=True),
    "crm_shortcut": partial(ContextualRefinement, use_scale=True, use_shortcut=True),
}
CONTEXTS: dict[str, Callable[..., nn.Module]] = {
    "f4": LastStage,
    "none": MultiStage,
    "ppm": PyramidPooling,
    "dappm": DAPPM,
    "ccam": CrissCrossContext,
    "dam": DualAttention,
    **_REFINEMENTS,
}


def create_context(
    name: str, channels: Sequence[int], out_channels: int, *, backend: str | None = None
) -> nn.Module:
    """The context module of that name.

    Args:
        name: a key of ``CONTEXTS``.
        channels: widths of the four stages.
        out_channels: width of the result.
        backend: of the op of :mod:`scrn_ops` that ``"crm"`` and its kin call; the others call none.

    Raises:
        ValueError: an unknown name or backend.
    """
    if name not in CONTEXTS:
        known = ", ".join(repr(key) for key in CONTEXTS)
        raise ValueError(f"context: expected one of {known}, got {name!r}")
    options = {"backend": backend} if name in _REFINEMENTS else {}
    return CONTEXTS[name](channels, out_channels, **options)
