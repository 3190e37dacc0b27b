"""``scrn predict``: class maps and overlays of photos, of images of any size, and of films."""

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

from scrn_ops._core.allocator import keep_freed_memory

from ..data.errors import DataError
from ..data.files import read_image
from ..models.network import MIN_SIZE
from . import report
from .film import FILM_SUFFIXES, require_pyav, segment_film
from .inference import Inference, check_short_side, multiplies_bfloat16
from .inputs import collect
from .large import check_size, segment_file
from .outputs import beside
from .prediction import segment, segment_labels
from .weights import PACKAGED, SavedModel, load_model

PRECISIONS = ("float32", "bfloat16", "auto")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", nargs="+", help="photos, films, and folders of photos")
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
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu, cuda, cuda:1, ... (%(default)s)",
    )
    parser.add_argument(
        "--scales", type=float, nargs="+", default=[1.0], help="average over these scales"
    )
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image")
    parser.add_argument(
        "--window",
        type=int,
        nargs="+",
        metavar=("SIZE", "W"),
        help="slide a window of SIZE x SIZE or H x W pixels over the image in its own size, in "
        "bands of rows, for images of any size",
    )
    parser.add_argument(
        "--stride",
        type=int,
        nargs="+",
        metavar=("SIZE", "W"),
        help="pixels from window to window (default: two thirds of the window)",
    )
    parser.add_argument(
        "--short-side",
        type=int,
        metavar="N",
        help="pixels to which the network's input is brought; 0 keeps the photo's size, and "
        "without it the model's own setting holds, or with --window the photo's size",
    )
    parser.add_argument(
        "--white",
        type=float,
        metavar="VALUE",
        help="which value is white in images of 16 bits a channel: 65535, or 4095 of 12 bits",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="type of maps and weights; bfloat16 takes several times as long where the device does "
        "not multiply it, so auto takes it where it does, and float32 elsewhere (%(default)s)",
    )
    parser.add_argument(
        "--keep-memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="on a CPU, keep freed memory for the next map and the next photo",
    )
    parser.add_argument(
        "--legend",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="name the classes in a strip below each photo's overlay",
    )
    parser.add_argument(
        "--overlays",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write overlays beside the labels",
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="also write DIR/probabilities/<name>.npy, float16 [classes, H, W], of images",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="of films, every Nth frame alone"
    )
    parser.add_argument(
        "--labels",
        action="store_true",
        help="of films, also write DIR/labels/<name>/<frame>.png",
    )


def _check_device(name: str) -> None:
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device: expected one that is here, such as 'cpu', got {name!r} ({reason})"
        ) from error


def _pair(name: str, values: list[int] | None) -> tuple[int, int] | None:
    if values is None:
        return None
    if len(values) > 2:
        raise ValueError(f"{name}: expected one number or two, got {values}")
    return values[0], values[-1]


def run(args: argparse.Namespace) -> int:
    """Segments every input; the number of images and films. The next photo is read and the last
    one's results are written while the network works.

    Raises:
        DataError: an input could not be read; of several, the others are segmented first.
    """
    output = Path(args.output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"output: expected a folder, got the file {output}")
    check_short_side(args.short_side)
    files = collect(args.input, output)
    inference = Inference(
        window=_pair("window", args.window),
        stride=_pair("stride", args.stride),
        scales=tuple(args.scales),
        flip=args.flip,
    )
    if any(path.suffix.lower() in FILM_SUFFIXES for path in files.values()):
        require_pyav()
        if not (args.overlays or args.labels):
            raise ValueError(
                "labels: expected --labels for films beside --no-overlays, got neither"
            )
    if args.white is not None and not 0 < args.white < float("inf"):
        raise ValueError(f"white: expected a number above 0, got {args.white}")
    if inference.window is not None and min(inference.window) < MIN_SIZE:
        raise ValueError(
            f"window: expected at least {MIN_SIZE} pixels, got {min(inference.window)}"
        )
    if args.window and args.short_side is None:
        args.short_side = 0
    _check_device(args.device)
    if args.keep_memory and torch.device(args.device).type == "cpu":
        keep_freed_memory()
    saved = load_model(args.model, args.device)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ValueError(
            f"output: expected a folder that can be made, got {output} ({problem.strerror})"
        ) from problem
    if args.model == PACKAGED:
        classes = ", ".join(saved.classes)
        print(
            f"packaged weights: street scenes, {len(saved.classes)} classes of CamVid ({classes})"
        )
    half = args.precision == "bfloat16" or (
        args.precision == "auto" and multiplies_bfloat16(args.device)
    )
    saved.model = saved.fuse(torch.bfloat16 if half else None).model
    if args.window:
        # Who asks for a window has large images; Pillow takes them for an attack otherwise.
        Image.MAX_IMAGE_PIXELS = None
    done = Done()
    failures: list[DataError] = []
    try:
        for error in _segment_all(saved, files, inference, args, done):
            failures.append(error)
            if len(files) > 1:
                print(f"scrn predict: {error}", file=sys.stderr)
    finally:
        show_progress("")
    if failures and len(files) == 1:
        raise failures[0]
    print(f"{done} -> {output}, {done.rate:.2f} a second")
    if failures:
        count = len(files) - len(failures)
        raise DataError(output, f"results of {len(files)} images", f"{count}, see above")
    return len(files)


class Done:
    """What has been segmented, since when."""

    def __init__(self) -> None:
        self.start = perf_counter()
        self.images = self.films = self.frames = 0

    @property
    def rate(self) -> float:
        return (self.images + self.frames) / (perf_counter() - self.start)

    def __str__(self) -> str:
        films = f"{self.frames} frame(s) of {self.films} film(s)" * bool(self.films)
        images = f"{self.images} image(s)" * bool(self.images or not self.films)
        return " and ".join(filter(None, (images, films)))


def show_progress(text: str) -> None:
    """A line that the next one takes the place of, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _show_share(path: Path, share: float) -> None:
    show_progress(f"{path}: {share:.0%}")


def _segment_all(
    saved: SavedModel,
    files: dict[str, Path],
    inference: Inference,
    args: argparse.Namespace,
    done: Done,
) -> Iterator[DataError]:
    """Segments every input, and yields the errors of those that cannot be read."""
    output = Path(args.output)
    in_rows = bool(inference.window) and not args.short_side and inference.scales == (1.0,)

    def read(path: Path) -> Tensor | None:
        if in_rows or path.suffix.lower() in FILM_SUFFIXES:
            return None  # They are read as they are segmented.
        image = read_image(path, upright=True, white=args.white)
        side = saved.short_side if args.short_side is None else args.short_side
        if not side:
            check_size(path, (image.shape[1], image.shape[2]))
        return image

    def say(path: Path, found: str) -> None:
        show_progress("")
        print(f"[{number}/{len(files)}] {path}: {found}", flush=True)

    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        writing: Future[None] | None = None
        images = _one_ahead(reader, read, list(files.values()))
        for number, (name, image) in enumerate(zip(files, images, strict=True), 1):
            path = files[name]
            try:
                pixels = image.result()
                if path.suffix.lower() in FILM_SUFFIXES:
                    say(path, _film(saved, path, name, inference, args, done))
                    continue
                if pixels is None:
                    targets = _targets(output, name, args)
                    progress = partial(_show_share, path)
                    shares = segment_file(saved, path, targets, inference, args.white, progress)
                else:
                    results, shares = _segmented(saved, pixels, inference, args)
            except DataError as error:
                yield error
                continue
            if pixels is not None:
                if writing is not None:
                    writing.result()
                writing = writer.submit(_write, _targets(output, name, args), results)
            done.images += 1
            say(path, report.largest(shares, saved.classes))
            show_progress(f"{number}/{len(files)}, {done.rate:.2f} a second")
        if writing is not None:
            writing.result()


def _one_ahead(
    pool: Executor, function: Callable[[Path], Tensor | None], items: list[Path]
) -> Iterator[Future[Tensor | None]]:
    """The results in turn, the next one in the making: no more than that is held."""
    following = pool.submit(function, items[0])
    for item in items[1:]:
        current, following = following, pool.submit(function, item)
        yield current
    yield following


def _segmented(
    saved: SavedModel, image: Tensor, inference: Inference, args: argparse.Namespace
) -> tuple[dict[str, np.ndarray], list[tuple[int, float]]]:
    """What is written of an image, by the folder it is written to, and the classes' shares."""
    results = {}
    if args.probabilities:
        scores = segment(saved, image, inference, args.short_side)
        results["probabilities"] = scores.half().numpy()
        results["labels"] = scores.argmax(0).byte().numpy()
    else:
        results["labels"] = segment_labels(saved, image, inference, args.short_side).numpy()
    shares = report.shares(report.counts_of(results["labels"]))
    if args.overlays:
        photo = image.permute(1, 2, 0).numpy()
        picture = report.overlay(photo, results["labels"], saved.colors)
        if args.legend:
            lines = report.entries(shares, saved.classes, saved.colors)
            picture = np.concatenate((picture, report.legend(lines, picture.shape[1])))
        results["overlays"] = picture
    return results, shares


def _film(
    saved: SavedModel,
    path: Path,
    name: str,
    inference: Inference,
    args: argparse.Namespace,
    done: Done,
) -> str:
    output, start = Path(args.output), perf_counter()

    def segment_frame(pixels: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        return segment_labels(saved, image, inference, args.short_side).numpy()

    def progress(number: int, total: int) -> None:
        share = f"{number}/{total}" if total else f"{number}"
        rate = number / args.every / (perf_counter() - start)
        show_progress(f"{path}: frame {share}, {rate:.2f} a second")

    count, broken = segment_film(
        path,
        output / "overlays" / f"{name}.mp4" if args.overlays else None,
        output / "labels" / name if args.labels else None,
        segment_frame,
        saved.colors,
        args.every,
        progress,
    )
    done.films += 1
    done.frames += count
    if broken is not None:
        raise DataError(path, "a whole film", f"{broken}; what could be read is written")
    return f"{count} frame(s), {count / (perf_counter() - start):.2f} a second"


def _targets(output: Path, name: str, args: argparse.Namespace) -> dict[str, Path]:
    kinds = {"labels": ".png"}
    if args.overlays:
        kinds["overlays"] = ".png"
    if args.probabilities:
        kinds["probabilities"] = ".npy"
    return {kind: output / kind / f"{name}{suffix}" for kind, suffix in kinds.items()}


def _write(targets: dict[str, Path], results: dict[str, np.ndarray]) -> None:
    for kind, content in results.items():
        with beside(targets[kind]) as partly:
            if kind == "probabilities":
                np.save(partly, content)
            elif kind == "overlays":
                # The usual level takes four times as long and saves a tenth of a file.
                Image.fromarray(content).save(partly, compress_level=1)
            else:
                Image.fromarray(content).save(partly)
