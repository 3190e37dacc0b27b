"""Pixel accuracy and boundary F-score of label maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def boundary(labels: Tensor, valid: Tensor) -> Tensor:
    """The pixels of ``labels`` [H, W] with a 4-neighbour of another class, both ``valid``."""
    edge = torch.zeros_like(valid)
    for dim in (0, 1):
        n = labels.shape[dim] - 1
        first, second = labels.narrow(dim, 0, n), labels.narrow(dim, 1, n)
        differs = (first != second) & valid.narrow(dim, 0, n) & valid.narrow(dim, 1, n)
        edge.narrow(dim, 0, n).logical_or_(differs)
        edge.narrow(dim, 1, n).logical_or_(differs)
    return edge


def within_one_pixel(edge: Tensor) -> Tensor:
    """The pixels of [H, W] at most 1 px (Euclidean) from one that is set."""
    near = edge.clone()
    for dim in (0, 1):
        n = edge.shape[dim] - 1
        near.narrow(dim, 0, n).logical_or_(edge.narrow(dim, 1, n))
        near.narrow(dim, 1, n).logical_or_(edge.narrow(dim, 0, n))
    return near


@dataclass
class Scores:
    """Counts over the photos added so far; pixels labelled ``void`` count for nothing."""

    void: int
    correct: int = 0
    pixels: int = 0
    predicted_near: int = 0
    predicted: int = 0
    labelled_near: int = 0
    labelled: int = 0

    def add(self, prediction: Tensor, labels: Tensor) -> None:
        """Adds one photo: two maps of classes [H, W]."""
        valid = labels != self.void
        self.correct += int(((prediction == labels) & valid).sum())
        self.pixels += int(valid.sum())
        ours, truth = boundary(prediction, valid), boundary(labels, valid)
        self.predicted_near += int((ours & within_one_pixel(truth)).sum())
        self.predicted += int(ours.sum())
        self.labelled_near += int((truth & within_one_pixel(ours)).sum())
        self.labelled += int(truth.sum())

    @property
    def accuracy(self) -> float:
        return self.correct / max(self.pixels, 1)

    @property
    def boundary_f(self) -> float:
        """2 P R / (P + R): P is the share of the predicted boundary within 1 px of the labelled
        one, R the share of the labelled boundary within 1 px of the predicted one."""
        precision = self.predicted_near / max(self.predicted, 1)
        recall = self.labelled_near / max(self.labelled, 1)
        return 2 * precision * recall / max(precision + recall, 1e-12)
