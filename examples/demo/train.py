"""Training and evaluation of the label refiner."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from scrn.data.datasets import IGNORE
from scrn.metrics import Scores, SegmentationScores

from .data import PhotoSet
from .model import LabelRefiner, bilinear, thin_out

CROP = 160
BATCH = 4
SEED = 0
# At four times this rate the scores are a little higher, but rounding decides them: the fused and
# the eager ops, which round differently, then end a point of boundary F-score apart.
LEARNING_RATE = 1e-3
FLOOR = 0.01  # of a class's share, so that the logarithm stays finite


@dataclass
class Outcome:
    bilinear: Scores
    refined: Scores
    seconds: float  # of training
    losses: list[float]


def normalise(photo: Tensor) -> Tensor:
    return photo.float() / 127.5 - 1


def sample_batch(photos: PhotoSet, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random crops, half of them mirrored: [B, 3, 160, 160] and [B, 160, 160]."""

    def below(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    crops = []
    for _ in range(BATCH):
        photo, labels = photos.train[below(len(photos.train))]
        height, width = labels.shape
        y, x = below(height - CROP + 1), below(width - CROP + 1)
        photo, labels = photo[:, y : y + CROP, x : x + CROP], labels[y : y + CROP, x : x + CROP]
        if below(2):
            photo, labels = photo.flip(-1), labels.flip(-1)
        crops.append((photo, labels))
    return normalise(torch.stack([c[0] for c in crops])), torch.stack([c[1] for c in crops])


def loss_of(maps: Tensor, labels: Tensor) -> Tensor:
    logs = (maps.clamp(min=0) * (1 - FLOOR) + FLOOR / maps.shape[1]).log()
    return F.nll_loss(logs, labels.long(), ignore_index=IGNORE)


def train(
    photos: PhotoSet,
    steps: int,
    backend: str | None,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[LabelRefiner, list[float]]:
    """The trained model and the loss of every step."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    model = LabelRefiner(photos.classes, backend=backend)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    losses = []
    for step in range(steps):
        photo, labels = sample_batch(photos, generator)
        loss = loss_of(model(photo, thin_out(labels, photos.classes)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        report(step + 1, losses[-1])
    return model.eval(), losses


@torch.no_grad()
def evaluate(model: LabelRefiner, photos: PhotoSet) -> tuple[Scores, Scores]:
    """Bilinear upsampling and the refined maps on the photos that were not seen."""
    plain, refined = (SegmentationScores(photos.classes, radius=1) for _ in range(2))
    for photo, labels in photos.unseen:
        maps = thin_out(labels[None], photos.classes)
        plain.update(bilinear(maps).argmax(1), labels[None])
        refined.update(model(normalise(photo[None]), maps).argmax(1), labels[None])
    return plain.compute(), refined.compute()


def run(
    photos: PhotoSet,
    steps: int,
    backend: str | None,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[LabelRefiner, Outcome]:
    start = time.perf_counter()
    model, losses = train(photos, steps, backend, report)
    seconds = time.perf_counter() - start
    return model, Outcome(*evaluate(model, photos), seconds, losses)
