"""``scrn data``: what a folder of images and masks holds, and what a training would trip over."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps

from .datasets import IGNORE
from .errors import DataError
from .folder import Folder, FolderClasses, match, read_classes

SPLITS = ("train", "val")
_THUMB = (240, 160)
_OF_A_SPLIT = 4  # rows of the contact sheet
_SHOWN = 10  # remarks


@dataclass
class Split:
    """What was found in one of the splits.

    Attributes:
        pixels: ``[256]``, of every class, and of those without one at 255.
        problems: lines that name a file which no training can use.
        remarks: lines about what a training would not stumble over.
        good: the pairs that can be read.
    """

    name: str
    pairs: int = 0
    sizes: set[tuple[int, int]] = field(default_factory=set)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    good: list[tuple[Path, Path]] = field(default_factory=list)


def inspect_split(root: Path, name: str, classes: FolderClasses) -> Split:
    """Reads every file of a split; what is wrong with one does not keep the others unread."""
    split = Split(name)
    try:
        pairs, alone = match(root, name)
    except DataError as error:
        split.problems.append(str(error))
        return split
    split.pairs = len(pairs)
    split.remarks += [f"{mask}: no image has this name" for mask in alone]
    for image_path, mask_path in pairs:
        if mask_path is None:
            split.problems.append(f"{image_path}: no mask has this name")
            continue
        try:
            _inspect_pair(split, Folder.of_pairs([(image_path, mask_path)], classes))
        except (DataError, OSError) as error:
            split.problems.append(str(error))
        else:
            split.good.append((image_path, mask_path))
    return split


def _inspect_pair(split: Split, pair: Folder) -> None:
    image, labels = pair.load(0)
    split.sizes.add((image.shape[1], image.shape[2]))
    split.pixels += torch.bincount(labels.flatten(), minlength=256).numpy()


def _sizes(split: Split) -> str:
    if not split.sizes:
        return "-"
    heights, widths = zip(*split.sizes, strict=True)
    low, high = f"{min(heights)}x{min(widths)}", f"{max(heights)}x{max(widths)}"
    return low if len(split.sizes) == 1 else f"{low} to {high}"


def contact_sheet(path: Path, splits: list[Split], root: Path, classes: FolderClasses) -> None:
    """A few pairs of each split: image, mask in the classes' colours, and both; and a legend."""
    from ..engine.report import colorize, overlay

    rows = [pair for split in splits for pair in split.good[:_OF_A_SPLIT]]
    width, height = _THUMB
    line, gap = 16, 4
    legend = line * -(-len(classes.names) // 3) + gap
    canvas = Image.new("RGB", (3 * (width + gap), len(rows) * (height + line) + legend), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True)):
        left, top = i % 3 * (width + gap), i // 3 * line
        draw.rectangle((left + 2, top + 3, left + 14, top + 13), fill=color)
        draw.text((left + 18, top + 2), f"{i} {name}", fill="black")
    for i, pair in enumerate(rows):
        image, labels = Folder.of_pairs([pair], classes).load(0)
        photo = image.permute(1, 2, 0).numpy()
        panels = (
            photo,
            colorize(labels, classes.colors),
            overlay(photo, labels.numpy(), classes.colors),
        )
        top = legend + i * (height + line)
        draw.text((2, top), str(pair[0].relative_to(root)), fill="black")
        for k, panel in enumerate(panels):
            small = ImageOps.contain(Image.fromarray(panel), _THUMB, Image.Resampling.NEAREST)
            canvas.paste(small, (k * (width + gap), top + line))
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "root", type=Path, metavar="DIR", help="with train/, val/ and classes.txt or classes.yaml"
    )
    parser.add_argument(
        "--sheet",
        type=Path,
        default=Path("data.png"),
        metavar="FILE",
        help="the contact sheet of pictures (%(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Shows tables, problems and the contact sheet.

    Raises:
        DataError: there were problems, which have been listed.
        ValueError: a sheet that is no picture's name.
    """
    if args.sheet.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"sheet: expected a name that ends with .png or .jpg, got {args.sheet}")
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from ..losses import balanced_weights

    root: Path = args.root.expanduser()
    classes = read_classes(root)
    splits = [inspect_split(root, name, classes) for name in SPLITS]
    console = Console(soft_wrap=True)
    table = Table("split", "images", "usable", "height x width", title=escape(str(root)))
    for split in splits:
        table.add_row(split.name, str(split.pairs), str(len(split.good)), _sizes(split))
    console.print(table)

    count = len(classes.names)
    weights = balanced_weights(torch.from_numpy(splits[0].pixels[:count])).tolist()
    table = Table("no.", "class", *(f"{s.name} %" for s in splits), "balanced weight")
    totals = [max(1, int(split.pixels.sum())) for split in splits]
    for i, name in enumerate([*classes.names, "(ignored)"]):
        at = i if i < count else IGNORE
        shares = (f"{100 * s.pixels[at] / n:.2f}" for s, n in zip(splits, totals, strict=True))
        weight = f"{weights[i]:.3g}" if i < count and splits[0].pixels[i] else "-"
        table.add_row(str(i) if i < count else "", escape(name), *shares, weight)
    console.print(table)
    for split in splits:
        absent = [n for n, p in zip(classes.names, split.pixels, strict=False) if not p]
        if absent and split.good:
            split.remarks.append(f"never occurs in {split.name}: {', '.join(absent)}")
    for split in splits:
        for remark in split.remarks[:_SHOWN]:
            print(f"remark: {remark}")
        if len(split.remarks) > _SHOWN:
            print(f"remark: and {len(split.remarks) - _SHOWN} more")
        for problem in split.problems:
            print(f"problem: {problem}")
    if any(split.good for split in splits):
        contact_sheet(args.sheet, splits, root, classes)
        print(f"pictures: {args.sheet}")
    problems = sum(len(split.problems) for split in splits)
    if problems:
        raise DataError(root, "files that a training can use", f"{problems} problem(s), see above")
    print("class_weights: --model.class_weights balanced takes these weights")
    return 0
