"""Context modules: what the decoder's top map is made of.

Every context module maps the four maps of a backbone (strides 4, 8, 16 and 32) to one map of
stride 32: [B, C_l, H_l, W_l] for l = 1..4 to [B, out_channels, H_4, W_4].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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

CONTEXTS: dict[str, Callable[[Sequence[int], int], nn.Module]] = {
    "f4": LastStage,
    "none": MultiStage,
    "ppm": PyramidPooling,
    "dappm": DAPPM,
    "ccam": CrissCrossContext,
    "dam": DualAttention,
    "crm": ContextualRefinement,
}


def create_context(name: str, channels: Sequence[int], out_channels: int) -> nn.Module:
    """The context module of that name over stages of these widths.

    Raises:
        ValueError: an unknown name.
    """
    if name not in CONTEXTS:
        known = ", ".join(repr(key) for key in CONTEXTS)
        raise ValueError(f"context: expected one of {known}, got {name!r}")
    return CONTEXTS[name](channels, out_channels)
