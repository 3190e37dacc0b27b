"""Data sets in their published folder layouts and of one's own, augmentation, and the Lightning
data module."""

from .datasets import ADE20K, BDD100K, CamVid, Cityscapes, SegmentationDataset
from .errors import DataError
from .folder import Folder, FolderClasses, read_classes
from .transforms import RandomScale, evaluation_transform, training_transform

__all__ = [
    "ADE20K",
    "BDD100K",
    "CamVid",
    "Cityscapes",
    "DataError",
    "Folder",
    "FolderClasses",
    "RandomScale",
    "SegmentationDataset",
    "evaluation_transform",
    "read_classes",
    "training_transform",
]
