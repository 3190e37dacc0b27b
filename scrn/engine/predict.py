"""``scrn predict``: class maps and overlays of photos."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data.errors import DataError
from ..data.files import IMAGE_SUFFIXES, list_images, read_image
from . import report
from .inference import Inference, probabilities
from .weights import SavedModel, load_model


def collect(inputs: list[str]) -> list[Path]:
    """The image files named, and those in the folders named."""
    found: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found += list_images(path)
        elif not path.is_file():
            raise DataError(path, "an image file or a folder of images", "no such file")
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            raise DataError(path, f"an image ({', '.join(IMAGE_SUFFIXES)})", f"{path.suffix!r}")
        else:
            found.append(path)
    stems: dict[str, Path] = {}
    for path in found:
        other = stems.setdefault(path.stem, path)
        if other != path:
            raise DataError(path, "names that differ, as they name the results", f"{other}, too")
    return list(stems.values())


def segment(saved: SavedModel, image: Tensor, inference: Inference | None = None) -> Tensor:
    """Class probabilities ``[classes, H, W]`` of a uint8 image ``[3, H, W]``."""
    device = next(saved.model.parameters()).device
    mean = torch.tensor(saved.mean, device=device).view(3, 1, 1)
    std = torch.tensor(saved.std, device=device).view(3, 1, 1)
    normalised = (image.to(device).float() / 255 - mean) / std
    batch = normalised[None].contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return probabilities(saved.model, batch, inference)[0].cpu()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", nargs="+", help="photos, and folders of photos")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--model", required=True, metavar="PATH", help="a saved model's folder or a checkpoint"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--scales", type=float, nargs="+", default=[1.0], help="average over these scales"
    )
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image")
    parser.add_argument(
        "--window", type=int, nargs=2, metavar=("H", "W"), help="slide a window of this size"
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="also write DIR/probabilities/<name>.npy, float16 [classes, H, W]",
    )


def run(args: argparse.Namespace) -> int:
    """Segments every input; the number of images."""
    files = collect(args.input)
    inference = Inference(
        window=tuple(args.window) if args.window else None,
        scales=tuple(args.scales),
        flip=args.flip,
    )
    saved = load_model(args.model, args.device)
    output = Path(args.output)
    for folder in ("labels", "overlays", *(["probabilities"] if args.probabilities else [])):
        (output / folder).mkdir(parents=True, exist_ok=True)
    for path in files:
        image = read_image(path)
        scores = segment(saved, image, inference)
        labels = scores.argmax(0).byte().numpy()
        Image.fromarray(labels).save(output / "labels" / f"{path.stem}.png")
        laid_over = report.overlay(image.permute(1, 2, 0).numpy(), labels, saved.classes)
        Image.fromarray(laid_over).save(output / "overlays" / f"{path.stem}.png")
        if args.probabilities:
            np.save(output / "probabilities" / f"{path.stem}.npy", scores.half().numpy())
        share = np.bincount(labels.ravel(), minlength=len(saved.classes)) / labels.size
        largest = ", ".join(
            f"{saved.classes[i]} {share[i]:.0%}" for i in share.argsort()[::-1][:4] if share[i] > 0
        )
        print(f"{path}: {largest}")
    print(f"{len(files)} image(s) -> {output}")
    return len(files)
