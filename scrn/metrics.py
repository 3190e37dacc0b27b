"""Segmentation metrics: IoU and accuracy from a confusion matrix, and the boundary F-score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix


@dataclass
class Scores:
    """What an evaluation found. Classes that occur neither in the labels nor in the predictions
    are NaN and left out of the means."""

    miou: float
    pixel_accuracy: float
    boundary_f: float
    iou: list[float]
    confusion: Tensor  # [classes, classes], rows are labels

    def as_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "boundary_f": self.boundary_f,
            "iou": dict(zip(classes, self.iou, strict=True)),
            "confusion": self.confusion.tolist(),
        }


def iou_per_class(confusion: Tensor) -> Tensor:
    """``[classes]``, float64, from a confusion matrix ``[classes, classes]``."""
    confusion = confusion.double()
    hit = confusion.diagonal()
    return hit / (confusion.sum(0) + confusion.sum(1) - hit)


def _disk(radius: int, device: torch.device) -> Tensor:
    steps = torch.arange(-radius, radius + 1, device=device)
    inside = steps[:, None] ** 2 + steps[None, :] ** 2 <= radius**2
    return inside.float()[None, None]


def class_boundaries(labels: Tensor, classes: int) -> Tensor:
    """``[classes, H, W]``, bool: the pixels of a class that have a pixel of another class among
    their 8 neighbours."""
    one_hot = labels[None] == torch.arange(classes, device=labels.device)[:, None, None]
    padded = F.pad(one_hot[None].float(), (1, 1, 1, 1), mode="replicate")
    eroded = -F.max_pool2d(-padded, 3, stride=1)[0]
    return one_hot & (eroded == 0)


def boundary_f_per_class(
    prediction: Tensor, labels: Tensor, classes: int, radius: int = 3, ignore_index: int = 255
) -> Tensor:
    """Boundary F-score of one image, per class; NaN for classes in neither map.

    Precision is the share of the predicted boundary within ``radius`` pixels (Euclidean) of the
    true one, recall the converse. Ignored pixels are no class's in either map, whatever is
    predicted there; the border of a class with them counts in both.

    Args:
        prediction, labels: ``[H, W]``, class indices.
    """
    void = labels == ignore_index
    prediction = prediction.masked_fill(void, ignore_index)
    predicted = class_boundaries(prediction, classes).float()[:, None]
    true = class_boundaries(labels, classes).float()[:, None]
    kernel = _disk(radius, labels.device)
    near_true = F.conv2d(true, kernel, padding=radius) > 0
    near_predicted = F.conv2d(predicted, kernel, padding=radius) > 0
    precision = (predicted * near_true).sum((1, 2, 3)) / predicted.sum((1, 2, 3))
    recall = (true * near_predicted).sum((1, 2, 3)) / true.sum((1, 2, 3))
    has_predicted = predicted.sum((1, 2, 3)) > 0
    has_true = true.sum((1, 2, 3)) > 0
    score = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    score = torch.where(has_predicted & has_true, score, torch.zeros_like(score))
    return torch.where(has_predicted | has_true, score, torch.full_like(score, torch.nan))


class SegmentationScores(Metric):
    """Confusion matrix and boundary F-score over a data set, summed over processes.

    The boundary score of a class is the mean over the images where it occurs in either map; the
    total is the mean over the classes.
    """

    full_state_update = False
    boundary_sum: Tensor
    boundary_count: Tensor

    def __init__(self, classes: int, radius: int = 3, ignore_index: int = 255) -> None:
        super().__init__()
        self.classes, self.radius, self.ignore_index = classes, radius, ignore_index
        self.matrix = MulticlassConfusionMatrix(classes, ignore_index=ignore_index)
        self.add_state("boundary_sum", torch.zeros(classes, dtype=torch.float64), "sum")
        self.add_state("boundary_count", torch.zeros(classes, dtype=torch.float64), "sum")

    def update(self, prediction: Tensor, labels: Tensor) -> None:
        """Adds a batch of class maps ``[B, H, W]``."""
        self.matrix.update(prediction, labels.long())
        for one, truth in zip(prediction, labels, strict=True):
            scores = boundary_f_per_class(
                one, truth, self.classes, self.radius, self.ignore_index
            ).double()
            self.boundary_sum += scores.nan_to_num(0.0)
            self.boundary_count += (~scores.isnan()).double()

    def compute(self) -> Scores:
        confusion = self.matrix.compute()
        iou = iou_per_class(confusion)
        boundary = self.boundary_sum / self.boundary_count
        total = confusion.sum().clamp(min=1)
        return Scores(
            miou=float(iou.nanmean()),
            pixel_accuracy=float(confusion.diagonal().sum() / total),
            boundary_f=float(boundary.nanmean()),
            iou=iou.tolist(),
            confusion=confusion.cpu(),
        )

    def reset(self) -> None:
        super().reset()
        self.matrix.reset()
