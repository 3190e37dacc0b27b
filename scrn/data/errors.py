"""The error that every unusable data file or folder ends in."""

from __future__ import annotations

from pathlib import Path


class DataError(ValueError):
    """A file or folder of a data set that cannot be used: which, what was expected, what came."""

    def __init__(self, path: Path | str, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {found}")
        self.path = Path(path)
