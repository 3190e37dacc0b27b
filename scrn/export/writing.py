"""What the formats share: a file that is there whole or not at all, and what is said in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..data.errors import DataError
from ..engine.weights import SavedModel

SMALLEST_AGREEMENT = 0.999
"""The share of pixels that have the network's class, below which an export is an error."""


def check_classes(saved: SavedModel, argument: str = "model") -> None:
    """Raises a ValueError for more classes than the bytes of a class map tell apart."""
    if (count := len(saved.classes)) > 256:
        raise ValueError(f"{argument}: expected at most 256 classes, got {count}")


def check_weights(saved: SavedModel) -> None:
    """Raises a ValueError for weights that are not float32, which nothing here is compared with."""
    found = {parameter.dtype for parameter in saved.model.parameters()} - {torch.float32}
    if found:
        raise ValueError(f"model: expected float32 weights, got {', '.join(map(str, found))}")


def check_free(folder: Path, mark: str, what: str) -> str:
    """What is expected at the place of a folder to write: nothing that would be overwritten.

    Args:
        mark: a file that ``what``, an earlier export's folder, has.

    Raises:
        DataError: a file, or another folder.
    """
    expected = f"no such file, an empty folder, or {what} of scrn export"
    if folder.exists() and not folder.is_dir():
        raise DataError(folder, expected, "a file")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / mark).exists():
        raise DataError(folder, expected, "another folder")
    return expected


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name for a file that takes the path's place at the end; after an error none is left, and
    what was there is kept.

    Raises:
        ValueError: the path is a folder's, or in a folder that cannot be written to.
    """
    if path.is_dir():
        raise ValueError(f"output: expected the path of a file, got the folder {path}")
    try:
        beside = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=path.parent))
    except OSError as error:
        raise ValueError(
            f"output: expected a folder that can be written to, got {path.parent}: {error.strerror}"
        ) from error
    try:
        made = beside / path.name
        yield made
        made.replace(path)
    finally:
        shutil.rmtree(beside)


def facts(saved: SavedModel) -> dict[str, Any]:
    """What whoever runs the network needs to know, as far as it is known."""
    known = {name: saved.about[name] for name in ("data", "terms") if name in saved.about}
    return {
        "classes": saved.classes, "colors": saved.colors, "mean": saved.mean, "std": saved.std,
    } | known  # fmt: skip
