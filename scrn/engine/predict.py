"""``scrn predict``: class maps and overlays of photos."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter

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


def collect(inputs: list[str], output: Path) -> dict[str, Path]:
    """The image files named, and those in the folders named and within these, each under the name
    of its results: that of the file, and of the folders on the way to it. What an earlier run left
    in ``output`` is no input."""
    found: list[tuple[str, Path]] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            images = list_images(path, "**/*")
            kept = [each for each in images if output.resolve() not in each.resolve().parents]
            if not kept:
                raise DataError(path, "images that are not results", "none")
            found += [(str(image.relative_to(path).with_suffix("")), image) for image in kept]
        elif not path.is_file():
            raise DataError(path, "an image file or a folder of images", "no such file")
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            raise DataError(path, f"an image ({', '.join(IMAGE_SUFFIXES)})", f"{path.suffix!r}")
        else:
            found.append((path.stem, path))
    named: dict[str, Path] = {}
    for name, path in found:
        other = named.setdefault(name, path)
        if other != path:
            raise DataError(path, "names that differ, as they name the results", f"{other}, too")
    return named


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
    parser.add_argument("input", nargs="+", help="photos, and folders, with all within")
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
        help="on a CPU, keep freed memory for the next map and the next photo",
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
    """Segments every input; the number of images. The next photo is read and the last one's
    results are written while the network works.

    Raises:
        DataError: an image could not be read; of several, the others are segmented first.
    """
    output = Path(args.output)
    files = collect(args.input, output)
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
    read = partial(read_image, upright=True)
    failed = 0
    start = perf_counter()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        writing: Future[None] | None = None
        images = _one_ahead(reader, read, list(files.values()))
        for number, (name, image) in enumerate(zip(files, images, strict=True), 1):
            try:
                results = _segmented(saved, image.result(), inference, args)
            except DataError as error:
                if len(files) == 1:
                    raise
                failed += 1
                print(f"scrn predict: {error}", file=sys.stderr)
                continue
            if writing is not None:
                writing.result()
            writing = writer.submit(_write, output, name, results)
            shares = _largest_shares(results["labels"], saved.classes)
            print(f"[{number}/{len(files)}] {files[name]}: {shares}")
        if writing is not None:
            writing.result()
    done = len(files) - failed
    rate = done / (perf_counter() - start)
    print(f"{done} image(s) -> {output}, {rate:.2f} a second")
    if failed:
        raise DataError(output, f"results of {len(files)} images", f"{done}, see above")
    return done


def _one_ahead(
    pool: Executor, function: Callable[[Path], Tensor], items: list[Path]
) -> Iterator[Future[Tensor]]:
    """The results in turn, the next one in the making: no more than that is held."""
    following = pool.submit(function, items[0])
    for item in items[1:]:
        current, following = following, pool.submit(function, item)
        yield current
    yield following


def _segmented(
    saved: SavedModel, image: Tensor, inference: Inference, args: argparse.Namespace
) -> dict[str, np.ndarray]:
    """What is written of an image, by the folder it is written to."""
    results = {}
    if args.probabilities:
        scores = segment(saved, image, inference, args.short_side)
        results["probabilities"] = scores.half().numpy()
        labels = scores.argmax(0).byte().numpy()
    else:
        labels = segment_labels(saved, image, inference, args.short_side).byte().numpy()
    photo = image.permute(1, 2, 0).numpy()
    return results | {"labels": labels, "overlays": report.overlay(photo, labels, saved.colors)}


def _write(output: Path, name: str, results: dict[str, np.ndarray]) -> None:
    """Writes beside the target and renames: what is there is whole, whenever this is stopped."""
    for folder, content in results.items():
        suffix = ".npy" if folder == "probabilities" else ".png"
        target = output / folder / f"{name}{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        partly = target.with_name(f".{target.name}.tmp{suffix}")
        try:
            if suffix == ".npy":
                np.save(partly, content)
            else:
                Image.fromarray(content).save(partly)
            partly.replace(target)
        finally:
            partly.unlink(missing_ok=True)


def _largest_shares(labels: np.ndarray, classes: tuple[str, ...]) -> str:
    share = np.bincount(labels.ravel(), minlength=len(classes)) / labels.size
    largest = share.argsort()[::-1][:4]
    return ", ".join(f"{classes[i]} {share[i]:.0%}" for i in largest if share[i] > 0)
