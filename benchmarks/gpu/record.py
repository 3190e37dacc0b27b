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
    """Rows of one stage, each by its name and with a ``status``, in a file that several stages
    may share. What is there already counts: a second run does what the first left undone."""

    def __init__(self, path: Path, stage: str, planned: Iterable[str] = ()) -> None:
        self.path, self.stage = path, stage
        self._content: dict[str, Any] = read(path) or {"planned": {}, "rows": []}
        names = list(planned)
        if names:
            self._content["planned"][stage] = len(names)
            write(path, self._content)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for row in self._content["rows"] if row["stage"] == self.stage]

    @property
    def planned(self) -> int:
        return int(self._content["planned"].get(self.stage, 0))

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
        made = {"stage": self.stage, "name": name, "status": status, **facts}
        kept = [r for r in self._content["rows"] if (r["stage"], r["name"]) != (self.stage, name)]
        self._content["rows"] = [*kept, made]
        write(self.path, self._content)

    def forget(self) -> None:
        """Drops the stage's rows, not those of others."""
        kept = [row for row in self._content["rows"] if row["stage"] != self.stage]
        self._content["rows"] = kept
        self._content["planned"].pop(self.stage, None)
        if self.path.is_file():
            write(self.path, self._content)
