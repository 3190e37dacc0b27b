"""The error that every unusable data file or folder ends in."""

from __future__ import annotations

from pathlib import Path


class DataError(ValueError):
    """A file or folder of a data set that cannot be used: which, what was expected, what came.

    With ``path`` alone that is the whole message: a loader's process hands the error on so.
    """

    def __init__(
        self, path: Path | str, expected: str | None = None, found: str | None = None
    ) -> None:
        if expected is None:
            super().__init__(str(path))
        else:
            super().__init__(f"{path}: expected {expected}, found {found}")
