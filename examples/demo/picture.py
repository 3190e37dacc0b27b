"""The demonstration's picture: photo, labels, bilinear, refined and the offset field."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from scrn.data.datasets import IGNORE
from scrn.metrics import class_boundaries

from .data import PhotoSet
from .model import LabelRefiner, bilinear, thin_out
from .train import Outcome, normalise

COLUMNS = ("photo", "labels", "bilinear", "refined", "offsets")
PANEL = 400  # pixels wide
DETAIL = 3.75  # of the photo's width is a detail's
GAP, MARGIN, WHEEL = 10, 24, 92
INK, PAPER, FRAME = (30, 30, 34), (255, 255, 255), (235, 60, 50)

Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Views:
    """What is shown of one photo: images [H, W, 3], the displacement [2, H, W] and a detail."""

    images: list[np.ndarray]
    displacement: np.ndarray
    detail: Box


def draw(model: LabelRefiner, photos: PhotoSet, outcome: Outcome) -> Image.Image:
    """Two rows for every photo: the whole, and the detail with the longest boundaries."""
    shown = [look(model, photos, index) for index in photos.shown]
    reach = _reach(shown)
    header = MARGIN + 124
    heights = [_height(view) for view in shown]
    width = 2 * MARGIN + len(COLUMNS) * PANEL + (len(COLUMNS) - 1) * GAP
    canvas = Image.new("RGB", (width, header + sum(2 * h + 3 * GAP for h in heights) + 44), PAPER)
    _write_header(canvas, photos, outcome, header, reach)
    y = header
    for view, height in zip(shown, heights, strict=True):
        panels = [*view.images, field_colours(view.displacement, reach)]
        whole = (0, 0, panels[0].shape[1], panels[0].shape[0])
        for box, frame in ((whole, view.detail), (view.detail, None)):
            for column, panel in enumerate(panels):
                tile = _tile(panel, box, height, smooth=column == 0)
                if frame is not None:
                    scale = PANEL / whole[2]
                    corners = [round(scale * each) for each in frame]
                    ImageDraw.Draw(tile).rectangle(corners, outline=FRAME, width=3)
                canvas.paste(tile, (MARGIN + column * (PANEL + GAP), y))
            y += height + GAP
        y += GAP
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, y), f"Data: {photos.source}.", INK, ImageFont.load_default(18))
    return canvas


@torch.no_grad()
def look(model: LabelRefiner, photos: PhotoSet, index: int) -> Views:
    photo, labels = photos.unseen[index]
    maps = thin_out(labels[None], photos.classes)
    image = normalise(photo[None])
    classes = (labels, _classes(bilinear(maps)), _classes(model(image, maps)))
    return Views(
        images=[photo.permute(1, 2, 0).numpy(), *(photos.coloured(c) for c in classes)],
        displacement=model.displacement(image, maps)[0].numpy(),
        detail=busiest(class_boundaries(labels, photos.classes).any(0)),
    )


def _classes(maps: Tensor) -> Tensor:
    """The class of every pixel, as it is scored; void where only void was kept around it."""
    classes = maps[0].argmax(0)
    return torch.where(maps[0].amax(0) > 0, classes, IGNORE)


def busiest(edge: Tensor) -> Box:
    """The window of a detail's size that has the most pixels of ``edge`` [H, W]."""
    height, width = (round(size / DETAIL) for size in edge.shape)
    counts = F.avg_pool2d(edge[None, None].float(), (height, width), stride=1)[0, 0]
    top, left = divmod(int(counts.argmax()), counts.shape[1])
    return left, top, left + width, top + height


def field_colours(field: np.ndarray, reach: float) -> np.ndarray:
    """A field of vectors [2, H, W] as colours: hue is the direction, white is no displacement,
    and full colour is ``reach``."""
    x, y = field
    strength = np.clip(np.hypot(x, y) / reach, 0, 1)[..., None]
    turn = np.arctan2(y, x)[..., None] / (2 * math.pi)
    phase = 6 * ((turn + np.array([0, 2, 1]) / 3) % 1)
    pure = np.clip(np.abs(phase - 3) - 1, 0, 1)
    return np.uint8(np.round(255 * (1 - strength * (1 - pure))))


def _reach(shown: list[Views]) -> float:
    """A round number of pixels that only one displacement in a hundred exceeds."""
    lengths = np.concatenate([np.hypot(*view.displacement).ravel() for view in shown])
    return max(1.0, math.ceil(float(np.quantile(lengths, 0.99))))


def _height(view: Views) -> int:
    height, width = view.images[0].shape[:2]
    return round(PANEL * height / width)


def _tile(image: np.ndarray, box: Box, height: int, smooth: bool) -> Image.Image:
    # Nearest, where the pixels of a map of classes are to be seen as they are.
    method = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return Image.fromarray(image).crop(box).resize((PANEL, height), method)


def _write_header(
    canvas: Image.Image, photos: PhotoSet, outcome: Outcome, bottom: int, reach: float
) -> None:
    draw = ImageDraw.Draw(canvas)
    plain, refined = outcome.bilinear, outcome.refined
    draw.text(
        (MARGIN, MARGIN),
        "Label maps of which every 8th pixel in x and y was kept, brought back to full size",
        INK,
        ImageFont.load_default(30),
    )
    draw.text(
        (MARGIN, MARGIN + 42),
        f"Three SemanticRefinement modules, {len(outcome.losses)} steps on a CPU; "
        f"{len(photos.unseen)} photos not seen in training: "
        f"pixel accuracy {100 * plain.pixel_accuracy:.1f} to {100 * refined.pixel_accuracy:.1f} %, "
        f"boundary F at 1 px {plain.boundary_f:.2f} to {refined.boundary_f:.2f}",
        INK,
        ImageFont.load_default(22),
    )
    for column, name in enumerate(COLUMNS):
        position = (MARGIN + column * (PANEL + GAP), bottom - 36)
        draw.text(position, name, INK, ImageFont.load_default(26))
    right = canvas.width - MARGIN
    axis = np.linspace(-1, 1, WHEEL) * reach
    x, y = np.meshgrid(axis, axis)
    colours = field_colours(np.stack((x, y)), reach)
    colours[np.hypot(x, y) > reach] = PAPER
    canvas.paste(Image.fromarray(colours), (right - WHEEL, bottom - WHEEL - GAP))
    font = ImageFont.load_default(20)
    draw.text((right - WHEEL - GAP, bottom - 30), f"{reach:g} px", INK, font, anchor="ra")
