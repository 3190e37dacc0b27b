"""Questions that the tables and the bars put to the measured rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .cases import LAYOUTS, Case
from .ops import BASELINE, COMPILED, OURS
from .runner import OK, Row


class Results:
    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = list(rows)
        self._by_key = {(row.case, row.threads, row.implementation): row for row in self.rows}

    @property
    def failures(self) -> list[Row]:
        return [row for row in self.rows if row.is_failure]

    def row(self, case: Case, threads: int, implementation: str) -> Row | None:
        return self._by_key.get((case, threads, implementation))

    def seconds(self, case: Case, threads: int, implementation: str) -> float | None:
        """None if it was not measured."""
        row = self.row(case, threads, implementation)
        if row is None or row.status != OK or row.timing is None:
            return None
        return row.timing.best

    def ratio(
        self, case: Case, threads: int, first: str, second: str, layouts: tuple[str, ...]
    ) -> float | None:
        """The time of ``first``, in the fastest of ``layouts``, over that of ``second`` in the
        case's own; None unless all of them were measured."""
        times = [self.seconds(replace(case, layout=layout), threads, first) for layout in layouts]
        own = self.seconds(case, threads, second)
        known = [each for each in times if each is not None]
        return min(known) / own if own and len(known) == len(times) else None

    def groups(self) -> list[tuple[Case, int]]:
        """Cases but for the layout, with their threads: where we are least ahead comes first."""
        keys = {(replace(row.case, layout=LAYOUTS[0]), row.threads): None for row in self.rows}
        return sorted(keys, key=lambda key: self.lead(*key))

    def lead(self, case: Case, threads: int) -> float:
        """The smallest speed-up over any baseline in the same layout; 0 for a row refused."""
        leads = []
        for layout in LAYOUTS:
            each = replace(case, layout=layout)
            if self.row(each, threads, OURS) is None:
                continue
            ratios = [
                self.ratio(each, threads, name, OURS, (layout,)) for name in (BASELINE, COMPILED)
            ]
            known = [ratio for ratio in ratios if ratio is not None]
            leads.append(min(known) if known else 0.0)
        return min(leads, default=0.0)
