"""The ops' :class:`torch.autograd.Function` classes."""

from .attention.autograd import WhitenedAttention
from .depthwise.autograd import DepthwiseGelu, LargeKernelDepthwise, MultiScaleDepthwise
from .srm.autograd import AggregateOffsets, OffsetSample, SemanticRefine

__all__ = [
    "AggregateOffsets",
    "DepthwiseGelu",
    "LargeKernelDepthwise",
    "MultiScaleDepthwise",
    "OffsetSample",
    "SemanticRefine",
    "WhitenedAttention",
]
