"""A data set of three classes: discs and boxes on textured ground, its masks in colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLORS = {"ground": (0, 0, 0), "disc": (220, 30, 30), "box": (30, 60, 220)}
CLASSES_YAML = """\
classes:
  - {name: ground, color: [0, 0, 0]}
  - {name: disc, color: [220, 30, 30]}
  - {name: box, color: [30, 60, 220]}
ignore:
  - [255, 255, 255]
"""


def shapes(size: tuple[int, int], numbers: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image and its class indices."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    phase = numbers.uniform(0, 6, 2)
    texture = 40 * np.sin(x / numbers.uniform(2, 9) + phase[0]) * np.sin(y / 5 + phase[1])
    image = numbers.uniform(60, 160, 3) + texture[..., None]
    labels = np.zeros(size, np.uint8)
    for _ in range(4):
        kind = numbers.integers(1, 3)
        radius = numbers.uniform(0.1, 0.22) * height
        cy, cx = numbers.uniform(0, height), numbers.uniform(0, width)
        dy, dx = np.abs(y - cy), np.abs(x - cx)
        inside = np.hypot(dy, dx) < radius if kind == 1 else np.maximum(dy, dx) < radius
        image[inside] = numbers.uniform(0, 255, 3)
        labels[inside] = kind
    image += numbers.normal(0, 8, image.shape)
    return image.clip(0, 255).astype(np.uint8), labels


def write_shapes(
    root: Path, train: int = 48, val: int = 12, size: tuple[int, int] = (120, 160), seed: int = 0
) -> None:
    """Writes ``train`` and ``val`` with ``classes.yaml``."""
    numbers = np.random.default_rng(seed)
    table = np.array(list(COLORS.values()), np.uint8)
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image, labels = shapes(size, numbers)
            Image.fromarray(image).save(root / split / "images" / f"{i:03}.png")
            Image.fromarray(table[labels]).save(root / split / "masks" / f"{i:03}.png")
    (root / "classes.yaml").write_text(CLASSES_YAML)
