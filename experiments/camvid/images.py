"""What a model makes of each validation image, and what follows for any choice of images:
``python -m experiments.camvid.images CHECKPOINT CAMVID FILE``."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch


@dataclass(frozen=True)
class Images:
    """Scores of each of N images, in C classes.

    Attributes:
        confusion: [N, C, C], pixels; rows are labels.
        boundary: [N, C], boundary F-scores; 0 where the class is in neither map.
        present: [N, C], whether it is in one.
    """

    confusion: np.ndarray
    boundary: np.ndarray
    present: np.ndarray

    def miou(self, weights: np.ndarray) -> np.ndarray:
        """mIoU [R] of samples in which image n occurs ``weights[r, n]`` times, [R, N]."""
        matrices = np.tensordot(weights, self.confusion.astype(np.float64), 1)
        hit = np.diagonal(matrices, axis1=1, axis2=2)
        return _mean(hit, matrices.sum(1) + matrices.sum(2) - hit)

    def boundary_f(self, weights: np.ndarray) -> np.ndarray:
        """Boundary F-score [R] of such samples."""
        return _mean(weights @ self.boundary, weights @ self.present.astype(np.float64))

    def save(self, path: Path) -> None:
        partial = path.with_name(f".{path.name}")
        with partial.open("wb") as file:
            np.savez_compressed(
                file, confusion=self.confusion, boundary=self.boundary, present=self.present
            )
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> Images:
        with np.load(path) as content:
            return cls(content["confusion"], content["boundary"], content["present"])


def _mean(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Mean over the classes that a sample has, [R, C] to [R]."""
    shares = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return np.nanmean(shares, axis=1)


def evaluate(checkpoint: Path, root: Path) -> Images:
    """Scores of CamVid's validation images."""
    from scrn.data.module import SegmentationData
    from scrn.engine.weights import load_model
    from scrn.metrics import SegmentationScores

    saved = load_model(checkpoint)
    data = SegmentationData("camvid", str(root), mean=saved.mean, std=saved.std, workers=0)
    data.setup("validate")
    rows = []
    for image, labels in data.val_dataloader():
        scores = SegmentationScores(len(saved.classes))
        with torch.inference_mode():
            logits = saved.model(image.contiguous(memory_format=torch.channels_last))
        scores.update(logits.argmax(1), labels)
        confusion = scores.compute().confusion
        rows.append((confusion, scores.boundary_sum, scores.boundary_count > 0))
    return Images(*(torch.stack(column).numpy() for column in zip(*rows, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("checkpoint", "root", "file"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    evaluate(args.checkpoint, args.root).save(args.file)


if __name__ == "__main__":
    main()
