"""The ops with their convolutions, ready for other people's models."""

from .attention.module import DisentangledNonLocal
from .srm.module import OffsetConv2d, SemanticRefinement

__all__ = ["DisentangledNonLocal", "OffsetConv2d", "SemanticRefinement"]
