"""``scrn predict``: class maps and overlays of photos."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from scrn_ops._core.allocator import keep_freed_memory

from ..data.errors import DataError
from ..data.files import IMAGE_SUFFIXES, list_images, read_image
from ..data.transforms import evaluation_transform
from . import report
from .inference import Inference, predicted_labels, probabilities
from .weights import PACKAGED, SavedModel, fastest_layout, load_model


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


def segment(
    saved: SavedModel,
    image: Tensor,
    inference: Inference | None = None,
    short_side: int | None = None,
) -> Tensor:
    """Class probabilities ``[classes, H, W]`` of a uint8 image ``[3, H, W]``.

    The network sees the image with its short side at ``short_side`` pixels; None takes what the
    model was saved with, 0 leaves the image as it is.
    """
    batch = _prepared(saved, image, short_side)
    with torch.inference_mode():
        return probabilities(saved.model, batch, inference, _size(image))[0].cpu()


def segment_labels(
    saved: SavedModel,
    image: Tensor,
    inference: Inference | None = None,
    short_side: int | None = None,
) -> Tensor:
    """The classes ``[H, W]`` of a uint8 image ``[3, H, W]``; see :func:`segment`."""
    batch = _prepared(saved, image, short_side)
    with torch.inference_mode():
        return predicted_labels(saved.model, batch, inference, _size(image))[0].cpu()


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[1], image.shape[2]


def _prepared(saved: SavedModel, image: Tensor, short_side: int | None) -> Tensor:
    device = next(saved.model.parameters()).device
    short_side = saved.short_side if short_side is None else short_side
    prepare = evaluation_transform(short_side or None, saved.mean, saved.std)
    batch = prepare(tv_tensors.Image(image))[None].to(device)
    return batch.contiguous(memory_format=fastest_layout(device))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", nargs="+", help="photos, and folders of photos")
    parser.add_argument(
        "--output", default="segmented", metavar="DIR", help="folder for the results (%(default)s)"
    )
    parser.add_argument(
        "--model",
        default=PACKAGED,
        metavar="PATH",
        help="a saved model's folder or a checkpoint; by default the weights that come with the "
        "package, trained on CamVid's street scenes",
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
        "--short-side",
        type=int,
        metavar="N",
        help="pixels to which the network's input is brought; 0 keeps the photo's size, and "
        "without it the model's own setting holds",
    )
    parser.add_argument(
        "--keep-memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="on a CPU, keep freed memory for the next map and the next photo (%(default)s)",
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="also write DIR/probabilities/<name>.npy, float16 [classes, H, W]",
    )


def _check_device(name: str) -> None:
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device: expected one that is here, such as 'cpu', got {name!r} ({reason})"
        ) from error


def run(args: argparse.Namespace) -> int:
    """Segments every input; the number of images."""
    files = collect(args.input)
    inference = Inference(
        window=tuple(args.window) if args.window else None,
        scales=tuple(args.scales),
        flip=args.flip,
    )
    _check_device(args.device)
    if args.keep_memory and torch.device(args.device).type == "cpu":
        keep_freed_memory()
    saved = load_model(args.model, args.device)
    saved.model = saved.model.fuse()
    output = Path(args.output)
    for folder in ("labels", "overlays", *(["probabilities"] if args.probabilities else [])):
        (output / folder).mkdir(parents=True, exist_ok=True)
    for path in files:
        image = read_image(path, upright=True)
        if args.probabilities:
            scores = segment(saved, image, inference, args.short_side)
            np.save(output / "probabilities" / f"{path.stem}.npy", scores.half().numpy())
            labels = scores.argmax(0).byte().numpy()
        else:
            labels = segment_labels(saved, image, inference, args.short_side).byte().numpy()
        Image.fromarray(labels).save(output / "labels" / f"{path.stem}.png")
        laid_over = report.overlay(image.permute(1, 2, 0).numpy(), labels, saved.colors)
        Image.fromarray(laid_over).save(output / "overlays" / f"{path.stem}.png")
        share = np.bincount(labels.ravel(), minlength=len(saved.classes)) / labels.size
        largest = ", ".join(
            f"{saved.classes[i]} {share[i]:.0%}" for i in share.argsort()[::-1][:4] if share[i] > 0
        )
        print(f"{path}: {largest}")
    print(f"{len(files)} image(s) -> {output}")
    return len(files)
