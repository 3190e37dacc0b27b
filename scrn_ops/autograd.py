"""The ops' :class:`torch.autograd.Function` classes."""

from .attention.autograd import WhitenedAttention
from .classify.autograd import UpsampledCrossEntropy
from .srm.autograd import AggregateOffsets, OffsetSample, SemanticRefine

__all__ = [
    "AggregateOffsets",
    "OffsetSample",
    "SemanticRefine",
    "UpsampledCrossEntropy",
    "WhitenedAttention",
]
