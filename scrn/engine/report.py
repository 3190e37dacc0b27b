"""What an evaluation shows: a table, JSON, and pictures (the paper's Figs. 7, 8 and 9)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..data.classes import Color

if TYPE_CHECKING:
    from ..metrics import Scores

_GREY = (90, 90, 90)
_BAND = 1 << 20  # pixels at a time


def print_scores(scores: Scores, classes: tuple[str, ...], title: str) -> None:
    """The per-class IoU and the totals as a table on the screen."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    table.add_column("class")
    table.add_column("IoU %", justify="right")
    for name, iou in zip(classes, scores.iou, strict=True):
        table.add_row(name, "-" if iou != iou else f"{100 * iou:.2f}")
    table.add_section()
    table.add_row("mIoU", f"{100 * scores.miou:.2f}")
    table.add_row("pixel accuracy", f"{100 * scores.pixel_accuracy:.2f}")
    table.add_row("boundary F (3 px)", f"{100 * scores.boundary_f:.2f}")
    Console().print(table)


def write_json(path: Path, scores: Scores, classes: tuple[str, ...], **extra: object) -> None:
    """The scores as JSON; NaN (a class that does not occur) becomes null."""
    content = scores.as_dict(classes) | extra
    content["iou"] = {k: None if v != v else v for k, v in content["iou"].items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def bar_chart(path: Path, results: dict[str, Scores], classes: tuple[str, ...]) -> None:
    """IoU per class as bars, one colour a model (Fig. 7)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    positions = np.arange(len(classes))
    width = 0.8 / len(results)
    figure, axes = plt.subplots(figsize=(max(6.0, 0.55 * len(classes)), 3.6))
    for i, (name, scores) in enumerate(results.items()):
        offset = (i - (len(results) - 1) / 2) * width
        values = 100 * np.nan_to_num(np.array(scores.iou))
        bars = axes.bar(positions + offset, values, width, label=f"{name} ({scores.miou:.1%})")
        if len(results) == 1:
            axes.bar_label(bars, fmt="%.0f", fontsize=7)
    axes.set_xticks(positions, classes, rotation=45, ha="right")
    axes.set_ylabel("IoU (%)")
    axes.set_ylim(0, 105)
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def colorize(labels: Tensor | np.ndarray, colors: Sequence[Color]) -> np.ndarray:
    """Class map ``[H, W]`` to uint8 RGB ``[H, W, 3]`` by the classes' colours; ignored pixels are
    grey."""
    table = np.full((256, 3), _GREY, np.uint8)
    table[: len(colors)] = colors
    return table[np.asarray(labels).astype(np.uint8)]


def overlay(
    image: np.ndarray, labels: np.ndarray, colors: Sequence[Color], opacity: float = 0.55
) -> np.ndarray:
    """The photo ``[H, W, 3]`` with the class colours laid over it."""
    if not isinstance(opacity, (int, float)):
        raise TypeError(f"opacity: expected a number, got {opacity!r}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity: expected a number from 0 to 1, got {opacity}")
    picture = np.empty_like(image)
    # In bands: the sums are in float64, eight times the picture.
    count = max(1, _BAND // max(1, image.shape[1]))
    for top in range(0, image.shape[0], count):
        rows = slice(top, top + count)
        mixed = (1 - opacity) * image[rows] + opacity * colorize(labels[rows], colors)
        picture[rows] = mixed.round()
    return picture


def counts_of(labels: np.ndarray) -> np.ndarray:
    """The pixels of each value in a uint8 map, int64 ``[256]``."""
    counts = np.zeros(256, np.int64)
    flat = labels.reshape(-1)
    # In bands, as bincount makes 64-bit numbers of them.
    for start in range(0, flat.size, _BAND):
        counts += np.bincount(flat[start : start + _BAND], minlength=256)
    return counts


def shares(counts: np.ndarray) -> list[tuple[int, float]]:
    """The classes that occur and their shares of the pixels, the largest first."""
    return [(int(i), float(counts[i] / counts.sum())) for i in counts.argsort()[::-1] if counts[i]]


def largest(found: Sequence[tuple[int, float]], classes: Sequence[str]) -> str:
    """The four largest shares in words."""
    return ", ".join(f"{classes[index]} {share:.0%}" for index, share in found[:4])


def entries(
    found: Sequence[tuple[int, float]], classes: Sequence[str], colors: Sequence[Color]
) -> list[tuple[str, Color]]:
    """A legend's lines for these classes and shares."""
    return [
        (f"{classes[i]} {share:.0%}" if share >= 0.005 else f"{classes[i]} <1%", colors[i])
        for i, share in found
    ]


def legend(lines: Sequence[tuple[str, Color]], width: int) -> np.ndarray:
    """Names beside their colours in as many columns as fit, a white RGB strip of that width."""
    size = min(48, max(11, width // 45))
    font = ImageFont.load_default(size)
    row = round(1.5 * size)
    widest = max((font.getlength(text) for text, _ in lines), default=0)
    column = int(widest) + 3 * size
    columns = max(1, (width - size // 2) // column)
    strip = Image.new("RGB", (width, row * -(-len(lines) // columns) + size // 2), "white")
    draw = ImageDraw.Draw(strip)
    for i, (text, color) in enumerate(lines):
        left = size // 2 + i % columns * column
        top = size // 2 + i // columns * row
        draw.rectangle((left, top, left + size, top + size - 1), color, _GREY)
        draw.text((left + 1.5 * size, top + size / 2), text, "black", font, "lm")
    return np.array(strip)


def side_by_side(path: Path, panels: dict[str, np.ndarray]) -> None:
    """RGB arrays of one size in a row, each under its name (Figs. 8 and 9)."""
    height, width = next(iter(panels.values())).shape[:2]
    gap, header = 4, 16
    total = len(panels) * (width + gap) - gap
    canvas = Image.new("RGB", (total, height + header), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (name, panel) in enumerate(panels.items()):
        left = i * (width + gap)
        draw.text((left + 2, 2), name, fill="black")
        canvas.paste(Image.fromarray(panel), (left, header))
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path)


def feature_picture(features: Tensor, size: tuple[int, int]) -> np.ndarray:
    """A feature map ``[C, h, w]`` as RGB: its first three principal components (Fig. 9)."""
    flat = features.detach().float().flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(flat @ flat.T)
    components = vectors[:, values.argsort(descending=True)[:3]]
    # An eigenvector's sign is arbitrary: fixed by its largest entry, so pictures can be compared.
    largest = components.gather(0, components.abs().argmax(0, keepdim=True))
    picture = (components * largest.sign()).T @ flat
    low, high = picture.quantile(0.01, 1, keepdim=True), picture.quantile(0.99, 1, keepdim=True)
    picture = ((picture - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    picture = picture.view(-1, *features.shape[1:])
    picture = torch.nn.functional.interpolate(picture[None], size=size, mode="nearest")[0]
    return (255 * picture).round().byte().permute(1, 2, 0).cpu().numpy()
