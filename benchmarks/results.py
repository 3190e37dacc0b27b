"""Questions that the tables and the bars put to the measured rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch

from .cases import AnyCase
from .cost import cost
from .ops import COPY, OURS
from .runner import OK, YARDSTICKS, Row

Rates = Mapping[tuple[torch.dtype, int], float]


class Results:
    """``flops_per_second`` are the device's own, by type and number of threads."""

    def __init__(self, rows: Iterable[Row], flops_per_second: Rates | None = None) -> None:
        self.rows = list(rows)
        self.flops_per_second = dict(flops_per_second or {})
        self._by_key = {(row.case, row.threads, row.implementation): row for row in self.rows}

    @property
    def failures(self) -> list[Row]:
        return [row for row in self.rows if row.is_failure]

    def row(self, case: AnyCase, threads: int, implementation: str) -> Row | None:
        return self._by_key.get((case, threads, implementation))

    def seconds(self, case: AnyCase, threads: int, implementation: str) -> float | None:
        """None if it was not measured."""
        row = self.row(case, threads, implementation)
        if row is None or row.status != OK or row.timing is None:
            return None
        return row.timing.best

    def ratio(
        self, case: AnyCase, threads: int, first: str, second: str, layouts: tuple[str, ...]
    ) -> float | None:
        """The time of ``first``, in the fastest of ``layouts``, over that of ``second`` in the
        case's own; None unless all of them were measured."""
        times = [self.seconds(replace(case, layout=layout), threads, first) for layout in layouts]
        own = self.seconds(case, threads, second)
        known = [each for each in times if each is not None]
        return min(known) / own if own and len(known) == len(times) else None

    def floor_seconds(self, case: AnyCase, threads: int) -> float | None:
        """The least that the case can take on this device: the time of a copy of as many bytes,
        or of its operations in a matrix product, whichever is longer."""
        copied = self.seconds(case, threads, COPY)
        rate = self.flops_per_second.get((case.dtype, threads))
        if copied is None or rate is None:
            return None
        return max(copied, cost(case).flops / rate)

    def rates(self, case: AnyCase, threads: int, implementation: str) -> tuple[float, float]:
        """Bytes and operations a second, of those that the op has to move and to compute; 0
        where nothing was measured."""
        seconds = self.seconds(case, threads, implementation)
        least = cost(case)
        return (least.bytes / seconds, least.flops / seconds) if seconds else (0.0, 0.0)

    def names(self, case: AnyCase, threads: int) -> list[str]:
        """Of what was compared, yardsticks left out."""
        found = dict.fromkeys(
            row.implementation
            for row in self.rows
            if row.threads == threads and row.case.group == case.group
        )
        return [name for name in found if name not in YARDSTICKS]

    def groups(self) -> list[tuple[AnyCase, int]]:
        """Cases but for the layout, with their threads: where we are least ahead comes first."""
        keys = {(row.case.group, row.threads): None for row in self.rows}
        return sorted(keys, key=lambda key: self.lead(*key))

    def lead(self, case: AnyCase, threads: int) -> float:
        """The smallest speed-up over any other row in the same layout; 0 for a row refused."""
        leads = []
        for each in case.in_layouts:
            if self.row(each, threads, OURS) is None:
                continue
            ratios = [
                self.ratio(each, threads, name, OURS, (each.layout,))
                for name in self.names(case, threads)
                if name != OURS
            ]
            known = [ratio for ratio in ratios if ratio is not None]
            leads.append(min(known) if known else 0.0)
        return min(leads, default=0.0)
