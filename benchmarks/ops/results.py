"""The measured rows: the questions that tables and bars put to them, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..common.timing import Timing
from ..common.yardstick import COPY, FLOOR
from .case import BASELINE, OURS, Case
from .cases import case_of
from .cost import cost

SCHEMA = 2
KEPT = ("threads", "implementation", "status", "note", "errors", "compile_seconds", "peak_bytes",
        "saved_bytes")  # fmt: skip
YARDSTICKS = (FLOOR, COPY)
OK, WRONG, FAILED, LEFT_OUT = "ok", "wrong", "failed", "left out"
Rates = Mapping[tuple[torch.dtype, int], float]


@dataclass
class Row:
    """What one implementation made of one case."""

    case: Case
    threads: int
    implementation: str
    status: str = OK
    note: str = ""
    timing: Timing | None = None
    errors: dict[str, float] = field(default_factory=dict)
    compile_seconds: float | None = None
    peak_bytes: int | None = None  # of one call, beside its arguments
    saved_bytes: int | None = None  # for the backward, arguments included

    @property
    def is_failure(self) -> bool:
        """A wrong result always is; a peer that cannot run here says so in its row and no more."""
        return self.status == WRONG or (
            self.status == FAILED and self.implementation in (OURS, BASELINE)
        )


class Results:
    """``flops_per_second`` are the device's own, by type and number of threads."""

    def __init__(self, rows: Iterable[Row], flops_per_second: Rates | None = None) -> None:
        self.rows = list(rows)
        self.flops_per_second = dict(flops_per_second or {})
        self._by_key = {(row.case, row.threads, row.implementation): row for row in self.rows}

    @property
    def failures(self) -> list[Row]:
        return [row for row in self.rows if row.is_failure]

    @property
    def threads(self) -> int:
        """The largest number of threads that was measured, which is the one that is shown."""
        return max(row.threads for row in self.rows)

    def row(self, case: Case, threads: int, implementation: str) -> Row | None:
        return self._by_key.get((case, threads, implementation))

    def seconds(self, case: Case, threads: int, implementation: str) -> float | None:
        """None if it was not measured."""
        row = self.row(case, threads, implementation)
        if row is None or row.status != OK or row.timing is None:
            return None
        return row.timing.best

    def ratio(
        self, case: Case, threads: int, first: str, second: str, layouts: Sequence[str] = ()
    ) -> float | None:
        """The time of ``first``, in the fastest of ``layouts`` (the case's own where none is
        named), over that of ``second`` in the case's own; None unless all were measured."""
        times = [
            self.seconds(replace(case, layout=layout), threads, first)
            for layout in layouts or (case.layout,)
        ]
        own = self.seconds(case, threads, second)
        known = [each for each in times if each is not None]
        return min(known) / own if own and len(known) == len(times) else None

    def floor_seconds(self, case: Case, threads: int) -> float | None:
        """The least that the case can take on this device: the time of a copy of as many bytes,
        or of its operations in a matrix product, whichever is longer."""
        copied = self.seconds(case, threads, COPY)
        rate = self.flops_per_second.get((case.dtype, threads))
        if copied is None or rate is None:
            return None
        return max(copied, cost(case).flops / rate)

    def share_of_floor(self, case: Case, threads: int, implementation: str) -> float | None:
        floor = self.floor_seconds(case, threads)
        seconds = self.seconds(case, threads, implementation)
        return None if floor is None or seconds is None else floor / seconds

    def names(self, case: Case, threads: int) -> list[str]:
        """Of what was compared, yardsticks left out."""
        found = dict.fromkeys(
            row.implementation
            for row in self.rows
            if row.threads == threads and row.case.group == case.group
        )
        return [name for name in found if name not in YARDSTICKS]

    def groups(self, threads: int | None = None) -> list[tuple[Case, int]]:
        """Cases but for the layout, with their threads: where we are least ahead comes first."""
        keys = {(row.case.group, row.threads): None for row in self.rows}
        chosen = [key for key in keys if threads in (None, key[1])]
        return sorted(chosen, key=lambda key: self.lead(*key))

    def shown(self) -> list[Case]:
        """The cases that one line each is about, the smallest lead first."""
        groups = self.groups(self.threads)
        cases = (case for group, _ in groups for case in group.in_layouts)
        return [case for case in cases if self.row(case, self.threads, OURS)]

    def lead(self, case: Case, threads: int) -> float:
        """The smallest speed-up over any other row in the same layout; 0 for a row refused."""
        leads = []
        for each in case.in_layouts:
            if self.row(each, threads, OURS) is None:
                continue
            others = (name for name in self.names(case, threads) if name != OURS)
            ratios = (self.ratio(each, threads, name, OURS) for name in others)
            leads.append(min((ratio for ratio in ratios if ratio is not None), default=0.0))
        return min(leads, default=0.0)


@dataclass
class Document:
    """Everything that a report needs. ``base`` is the same of another commit, timed on the same
    machine right after."""

    environment: dict[str, Any]
    results: Results
    bars: list[dict[str, Any]] = field(default_factory=list)
    base: Document | None = None

    def write(self, path: Path) -> None:
        base = self.base
        content = {
            "schema": SCHEMA,
            "environment": self.environment,
            "flops_per_second": [
                {"dtype": str(dtype).removeprefix("torch."), "threads": threads, "rate": rate}
                for (dtype, threads), rate in self.results.flops_per_second.items()
            ],
            "rows": _to_json(self.results),
            "bars": self.bars,
            "base": base and {"environment": base.environment, "rows": _to_json(base.results)},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Document:
        """Raises:
        ValueError: the file was written by another version of this program.
        """
        try:
            read = json.loads(path.read_text())
            if read.get("schema") != SCHEMA:
                raise ValueError(f"expected schema {SCHEMA}, got {read.get('schema')}")
            rates = {
                (getattr(torch, each["dtype"]), each["threads"]): each["rate"]
                for each in read["flops_per_second"]
            }
            base = None
            if read["base"] is not None:
                rows = map(_row_of, read["base"]["rows"])
                base = cls(read["base"]["environment"], Results(rows))
            results = Results(map(_row_of, read["rows"]), rates)
            return cls(read["environment"], results, read["bars"], base)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _to_json(results: Results) -> list[dict[str, Any]]:
    """The rates are those that the least bytes and operations of the case come to."""
    rows = []
    for row in results.rows:
        timing, least = row.timing, cost(row.case)
        seconds = timing and timing.best
        floor = results.floor_seconds(row.case, row.threads)
        rows.append({
            **row.case.to_json(),
            **{name: getattr(row, name) for name in KEPT},
            "seconds": seconds,
            "seconds_minimum": timing and timing.minimum,
            "seconds_median": timing and timing.median,
            "runs": timing and timing.runs,
            "least_bytes": least.bytes,
            "flops": least.flops,
            "gb_per_second": seconds and least.bytes / seconds / 1e9,
            "tflop_per_second": seconds and least.flops / seconds / 1e12,
            "floor_seconds": floor,
            "share_of_floor": seconds and floor and floor / seconds,
        })  # fmt: skip
    return rows


def _row_of(read: Mapping[str, Any]) -> Row:
    times = (read[f"seconds{which}"] for which in ("_minimum", "_median", ""))
    timing = None if read["seconds"] is None else Timing(*times, read["runs"])
    return Row(case_of(read), timing=timing, **{name: read[name] for name in KEPT})
