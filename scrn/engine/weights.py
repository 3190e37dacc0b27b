"""Models with all that prediction needs: network, classes, and the normalisation of its input.

``python -m scrn.engine.weights CHECKPOINT FOLDER`` turns a training checkpoint into such a folder.
"""

from __future__ import annotations

import argparse
import copy
import inspect
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from .. import SCRN
from ..data.errors import DataError

_CARD = "inference.json"


@dataclass
class SavedModel:
    """A network in evaluation mode, its class names, and mean and std of images in [0, 1]."""

    model: nn.Module
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_model(path: str | Path, device: str | torch.device = "cpu") -> SavedModel:
    """A saved folder or a training checkpoint (``.ckpt``)."""
    path = Path(path)
    if path.is_dir():
        saved = _load_folder(path)
    elif path.is_file():
        saved = _load_checkpoint(path)
    else:
        raise DataError(path, "a saved model's folder or a training checkpoint", "no such file")
    saved.model = saved.model.to(device=device, memory_format=torch.channels_last).eval()
    return saved


def save_model(saved: SavedModel, folder: str | Path, half: bool = True) -> None:
    """Writes the folder that :func:`load_model` reads; in half precision by default."""
    folder = Path(folder)
    model = saved.model
    if half:
        model = copy.deepcopy(model).half()
    model.save_pretrained(folder)
    card = {"classes": saved.classes, "mean": saved.mean, "std": saved.std}
    (folder / _CARD).write_text(json.dumps(card, indent=1) + "\n")


def _load_folder(folder: Path) -> SavedModel:
    card_file = folder / _CARD
    if not card_file.is_file():
        raise DataError(card_file, "the classes and the normalisation of a model", "no such file")
    card = json.loads(card_file.read_text())
    model = SCRN.from_pretrained(folder)
    return SavedModel(
        model.float(), tuple(card["classes"]), tuple(card["mean"]), tuple(card["std"])
    )


def _load_checkpoint(path: Path) -> SavedModel:
    from ..data.module import DATASETS
    from .task import Segmentation

    content = torch.load(path, map_location="cpu", weights_only=True)
    data = content["datamodule_hyper_parameters"]
    arguments = {
        name: value
        for name, value in content["hyper_parameters"].items()
        if name in inspect.signature(Segmentation).parameters
    }
    task = Segmentation(**(arguments | {"pretrained": None, "baseline": None}))
    task.load_state_dict(content["state_dict"])
    classes = DATASETS[data["name"]].classes
    return SavedModel(task.model, classes, tuple(data["mean"]), tuple(data["std"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--full-precision", action="store_true")
    args = parser.parse_args()
    save_model(load_model(args.checkpoint), args.folder, half=not args.full_precision)
    size = sum(f.stat().st_size for f in args.folder.iterdir())
    print(f"{args.folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
