"""``inference.json`` of a saved folder: what prediction needs beside weights and arguments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CARD = "inference.json"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

README = """---
library_name: scrn
tags: [image-segmentation]
---
Weights of `{backbone}` with `{context}` and `{upsampler}` for {count} classes: {classes}.

`scrn predict --model`, `scrn.SCRN.from_pretrained` and `scrn.engine.weights.load_model` read this
folder. `inference.json` names the classes and the normalisation of the images.
"""


def write_card(
    folder: Path,
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    short_side: int | None,
    colors: Sequence[Sequence[int]],
    about: dict[str, Any],
) -> None:
    card = {
        "classes": list(classes),
        "colors": [list(color) for color in colors],
        "mean": list(mean),
        "std": list(std),
        "short_side": short_side,
        "about": about,
    }
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n")


def read_card(folder: Path, num_classes: int) -> dict[str, Any]:
    """What :func:`write_card` wrote.

    Raises:
        ValueError: it is another network's, as after a save that was cut off between two files.
    """
    card: dict[str, Any] = json.loads((folder / CARD).read_text())
    if len(card["classes"]) != num_classes:
        raise ValueError(
            f"{folder / CARD}: expected names of {num_classes} classes, which the network beside "
            f"it has, got {len(card['classes'])}"
        )
    return card
