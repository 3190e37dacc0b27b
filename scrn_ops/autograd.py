"""The ops' :class:`torch.autograd.Function` classes."""

from .attention.autograd import WhitenedAttention
from .classify.autograd import UpsampledCrossEntropy
from .convolution.autograd import Conv3x3
from .depthwise.autograd import DepthwiseGelu, LargeKernelDepthwise, MultiScaleDepthwise
from .srm.autograd import AggregateOffsets, OffsetSample, SemanticRefine

__all__ = [
    "AggregateOffsets",
    "Conv3x3",
    "DepthwiseGelu",
    "LargeKernelDepthwise",
    "MultiScaleDepthwise",
    "OffsetSample",
    "SemanticRefine",
    "UpsampledCrossEntropy",
    "WhitenedAttention",
]
