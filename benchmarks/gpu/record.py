"""Files of JSON that are whole at every moment, whenever the process that writes them is killed.
Imports nothing that a stage might find broken."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OK = "ok"


def write(path: Path, content: object) -> None:
    """Beside the old file first, which then makes way in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(path)


def read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else None


class Record:
    """Rows of one stage, each by its name and with a ``status``, in a file. What is there already
    counts: a second run does what the first left undone."""

    def __init__(self, path: Path, planned: Iterable[str] = ()) -> None:
        self.path = path
        self._content: dict[str, Any] = read(path) or {"planned": 0, "rows": []}
        names = list(planned)
        if names:
            self._content["planned"] = len(names)
            write(path, self._content)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(self._content["rows"])

    @property
    def planned(self) -> int:
        return int(self._content["planned"])

    def row(self, name: str) -> dict[str, Any] | None:
        return next((row for row in self.rows if row["name"] == name), None)

    def ended_well(self, name: str) -> bool:
        row = self.row(name)
        return row is not None and row["status"] == OK

    @property
    def all_ended_well(self) -> bool:
        return all(row["status"] == OK for row in self.rows)

    def add(self, name: str, status: str, **facts: object) -> None:
        """In the place of an older row of that name."""
        kept = [row for row in self.rows if row["name"] != name]
        self._content["rows"] = [*kept, {"name": name, "status": status, **facts}]
        write(self.path, self._content)
