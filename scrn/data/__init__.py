"""Data sets in their published folder layouts, augmentation, and the Lightning data module."""

from .datasets import ADE20K, BDD100K, CamVid, Cityscapes, SegmentationDataset
from .errors import DataError
from .transforms import RandomScale, evaluation_transform, training_transform

__all__ = [
    "ADE20K",
    "BDD100K",
    "CamVid",
    "Cityscapes",
    "DataError",
    "RandomScale",
    "SegmentationDataset",
    "evaluation_transform",
    "training_transform",
]
