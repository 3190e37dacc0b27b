"""Training losses: cross-entropy (Eq. 10) and pixel contrast (Eq. 11), summed by Eq. 12."""

from scrn_ops import UpsampledCrossEntropy

from .contrast import PixelContrastLoss, pixel_contrast, sample_anchors
from .segmentation import SegmentationLoss, balanced_weights, cross_entropy

__all__ = [
    "PixelContrastLoss",
    "SegmentationLoss",
    "UpsampledCrossEntropy",
    "balanced_weights",
    "cross_entropy",
    "pixel_contrast",
    "sample_anchors",
]
