"""The error that every unusable data file or folder ends in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DataError(ValueError):
    """A file or folder of a data set that cannot be used: which, what was expected, what came.

    Given ``path`` alone, it is the whole message: torch hands on the error of a loader's process
    in this way, with that process's traceback above.
    """

    def __init__(
        self, path: Path | str, expected: str | None = None, found: str | None = None
    ) -> None:
        if expected is None:
            super().__init__(str(path).rpartition(f"{type(self).__name__}: ")[2].strip())
        else:
            super().__init__(f"{path}: expected {expected}, found {found}")


@contextmanager
def reading(path: Path | str, expected: str) -> Iterator[None]:
    """Turns the errors that a file of another kind leads to into a DataError; the system's pass."""
    try:
        yield
    except (DataError, ImportError, MemoryError, OSError):
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]  # torch adds advice
        raise DataError(path, expected, f"{type(error).__name__}: {reason}") from error
