"""The ops' :class:`torch.autograd.Function` classes."""

from .attention.autograd import WhitenedAttention
from .classify.autograd import UpsampledCrossEntropy
from .depthwise.autograd import DepthwiseGelu, LargeKernelDepthwise, MultiScaleDepthwise
from .srm.autograd import AggregateOffsets, OffsetSample, SemanticRefine

__all__ = [
    "AggregateOffsets",
    "DepthwiseGelu",
    "LargeKernelDepthwise",
    "MultiScaleDepthwise",
    "OffsetSample",
    "SemanticRefine",
    "UpsampledCrossEntropy",
    "WhitenedAttention",
]
