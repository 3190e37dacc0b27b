"""A data set of one's own: folders of images and masks, and a file that names the classes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .classes import Color, palette
from .datasets import IGNORE, SegmentationDataset, Transform
from .errors import DataError, reading
from .files import LOSSLESS_SUFFIXES, list_images, read_colors, read_labels, with_any_suffix

CLASSES_TXT, CLASSES_YAML = "classes.txt", "classes.yaml"
_KEYS = {"name", "id", "color"}


@dataclass(frozen=True)
class FolderClasses:
    """The classes of a folder, and how its masks write them.

    Attributes:
        names: of the classes, in the order of the network's outputs.
        colors: RGB, in which pictures show them.
        ids: class index (or 255, ignored) of every value of a mask; None where masks are coloured.
        mask_colors: the same of every colour of a mask; None where masks hold ids.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    ids: dict[int, int] | None = None
    mask_colors: dict[Color, int] | None = None


def read_classes(root: Path | str) -> FolderClasses:
    """Reads ``classes.txt`` (a name a line; its number, from 0, is the id) or ``classes.yaml``
    (``classes``: entries of ``name`` with ``id`` or ``color``; ``ignore``: ids or colours without
    a class). The id 255 is ignored, unless a class has it.

    Raises:
        DataError: the file is missing, or says something else.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(root, "the folder of a data set", "no such folder")
    text, yaml = root / CLASSES_TXT, root / CLASSES_YAML
    if text.is_file() and yaml.is_file():
        raise DataError(root, f"{CLASSES_TXT} or {CLASSES_YAML}", "both")
    if yaml.is_file():
        return _from_yaml(yaml)
    if text.is_file():
        return _from_text(text)
    raise DataError(root, f"{CLASSES_TXT} or {CLASSES_YAML}, which names the classes", "neither")


def _from_text(path: Path) -> FolderClasses:
    with reading(path, "a class name a line, in UTF-8"):
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise DataError(path, "a class name a line", f"an empty line {lines.index('') + 1}")
    names = _checked_names(path, lines)
    return FolderClasses(
        names, palette(names), ids={IGNORE: IGNORE} | {i: i for i in range(len(names))}
    )


def _from_yaml(path: Path) -> FolderClasses:
    import yaml

    with reading(path, "YAML"):
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    if not isinstance(content, dict) or not isinstance(content.get("classes"), list):
        found = ", ".join(map(str, content)) if isinstance(content, dict) else repr(content)
        raise DataError(path, "a list under 'classes'", found)
    if unknown := content.keys() - {"classes", "ignore"}:
        raise DataError(path, "the keys 'classes' and 'ignore'", f"{min(map(str, unknown))!r}, too")
    entries = content["classes"]
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or "name" not in entry or entry.keys() - _KEYS:
            raise DataError(
                path,
                "a 'name', and an 'id' or a 'color', of every class",
                f"{entry} (no. {number})",
            )
    names = _checked_names(path, [entry["name"] for entry in entries])
    colors = [_color(path, entry["color"]) if "color" in entry else None for entry in entries]
    with_id = sum("id" in entry for entry in entries)
    if with_id not in (0, len(entries)):
        raise DataError(path, "an 'id' of every class or of none", f"{with_id} of {len(entries)}")
    shown = tuple(a or b for a, b in zip(colors, palette(names), strict=True))
    ignored = content.get("ignore") or []
    if not isinstance(ignored, list):
        raise DataError(path, "a list 'ignore'", repr(ignored))
    if with_id == 0 and any(color is not None for color in colors):
        if None in colors:
            raise DataError(
                path, "a 'color' of every class", f"none of {names[colors.index(None)]!r}"
            )
        of_masks = _table(path, [*colors], [_color(path, each) for each in ignored])
        return FolderClasses(names, shown, mask_colors=of_masks)
    ids = [_id(path, entry.get("id", i)) for i, entry in enumerate(entries)]
    table = _table(path, ids, [_id(path, each) for each in ignored])
    return FolderClasses(names, shown, ids={IGNORE: IGNORE} | table)


def _checked_names(path: Path, names: list[Any]) -> tuple[str, ...]:
    if not 1 <= len(names) < IGNORE:
        raise DataError(path, f"1 to {IGNORE - 1} classes", f"{len(names)}")
    for name in names:
        if not isinstance(name, str) or not name:
            raise DataError(path, "names of classes in letters", repr(name))
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise DataError(path, "each class once", f"{name!r} {times} times")
    return tuple(names)


def _id(path: Path, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 255:
        raise DataError(path, "ids from 0 to 255", repr(value))
    return value


def _color(path: Path, value: Any) -> Color:
    if isinstance(value, list) and len(value) == 3:
        red, green, blue = (_id(path, part) for part in value)
        return red, green, blue
    raise DataError(path, "colours of the form [red, green, blue]", repr(value))


def _table(path: Path, of_classes: list[Any], ignored: list[Any]) -> dict[Any, int]:
    value, times = Counter([*of_classes, *dict.fromkeys(ignored)]).most_common(1)[0]
    if times > 1:
        raise DataError(path, "an id or a colour of its own for each class", f"{value} twice")
    return dict.fromkeys(ignored, IGNORE) | {value: i for i, value in enumerate(of_classes)}


def match(root: Path, split: str) -> tuple[list[tuple[Path, Path | None]], list[Path]]:
    """The images of a split, each with its mask or None, and the masks that have no image."""
    folder = root / split / "masks"
    if not folder.is_dir():
        raise DataError(folder, "a folder of masks", "no such folder")
    images = list_images(root / split / "images")
    stem, times = Counter(image.stem for image in images).most_common(1)[0]
    if times > 1:
        raise DataError(root / split / "images", "a name once", f"{times} images {stem!r}")
    pairs = [(image, with_any_suffix(folder / image.stem)) for image in images]
    used = {mask for _, mask in pairs}
    kept = (p for p in folder.iterdir() if p.suffix.lower() in LOSSLESS_SUFFIXES)
    return pairs, sorted(p for p in kept if p not in used)


class Folder(SegmentationDataset):
    """``<split>/images/*`` and ``<split>/masks/*`` of the same names (PNG, BMP or TIFF), and
    ``classes.txt`` or ``classes.yaml``: see :func:`read_classes`.

    Masks hold ids (8 or 16 bits, or the indices of a palette), or colours.
    """

    def __init__(
        self,
        root: Path | str,
        split: str = "train",
        transform: Transform | None = None,
    ) -> None:
        root = Path(root).expanduser()
        about = read_classes(root)
        masks = root / split / "masks"
        pairs = [
            (image, mask or masks / f"{image.stem}.png") for image, mask in match(root, split)[0]
        ]
        self._start(pairs, about, transform)

    @classmethod
    def of_pairs(cls, pairs: list[tuple[Path, Path]], about: FolderClasses) -> Folder:
        """Of these images and masks, wherever they lie."""
        made = cls.__new__(cls)
        made._start(pairs, about, None)
        return made

    def _start(
        self, pairs: list[tuple[Path, Path]], about: FolderClasses, transform: Transform | None
    ) -> None:
        super().__init__(pairs, about.ids or {IGNORE: IGNORE}, transform)
        self.classes, self.colors = about.names, about.colors
        self._mask_colors = about.mask_colors

    def read(self, path: Path) -> Tensor:
        if self._mask_colors is None:
            return self.to_classes(read_labels(path), path)
        return colors_to_classes(read_colors(path), self._mask_colors, path)


def colors_to_classes(image: np.ndarray, table: dict[Color, int], path: Path) -> Tensor:
    """uint8 ``[H, W, 3]`` to class indices ``[H, W]``."""
    red, green, blue = (image[..., i].astype(np.int32) for i in range(3))
    packed = red << 16 | green << 8 | blue
    known = sorted((r << 16 | g << 8 | b, index) for (r, g, b), index in table.items())
    keys = np.array([key for key, _ in known])
    at = np.searchsorted(keys, packed).clip(max=len(keys) - 1)
    unknown = keys[at] != packed
    if unknown.any():
        value = int(packed[unknown][0])
        found = (value >> 16, value >> 8 & 255, value & 255)
        raise DataError(
            path,
            f"the colours of {CLASSES_YAML}",
            f"{found} on {int(unknown.sum())} pixels",
        )
    return torch.from_numpy(np.array([index for _, index in known], np.uint8)[at])
