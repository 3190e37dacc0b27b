"""Whether the fused ops reach on a CPU with two threads what they have to, and by how much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..common.yardstick import COPY, FLOOR
from .case import BASELINE, OURS, Bar
from .cases import FAMILIES
from .results import Results

THREADS = 2
MISSED = "MISSED"


@dataclass(frozen=True)
class Judgement:
    """The figures are None where a row was refused. ``additions`` and ``copies`` are the op's time
    in units of the yardsticks, which hold across machines."""

    bar: Bar
    speedup: float | None
    additions: float | None
    copies: float | None

    @property
    def verdict(self) -> str:
        if self.speedup is None:
            return "not measured"
        if self.bar.moonshot is not None and self.speedup >= self.bar.moonshot:
            return "met, stretch too"
        return "met" if self.speedup >= self.bar.required else MISSED

    def to_json(self) -> dict[str, Any]:
        return {
            **self.bar.case.to_json(),
            "threads": THREADS,
            "over_layouts": list(self.bar.layouts),
            "required": self.bar.required,
            "moonshot": self.bar.moonshot,
            "aim_additions": self.bar.aim,
            "speedup": self.speedup,
            "additions": self.additions,
            "copies": self.copies,
            "verdict": self.verdict,
        }


def speedup_text(speedup: float | None) -> str:
    """Rounded down: what missed a bar must not read as if it had met it."""
    return "" if speedup is None else f"x{math.floor(10 * speedup) / 10:.1f}"


def span(ratios: Sequence[float]) -> str:
    ends = list(dict.fromkeys(speedup_text(end) for end in (min(ratios), max(ratios))))
    return " to ".join(ends)


def judge(results: Results) -> list[Judgement]:
    """Every bar that was measured."""
    judgements = []
    for bar in (bar for family in FAMILIES.values() for bar in family.bars):
        if results.row(bar.case, THREADS, OURS) is None:
            continue
        speedup = results.ratio(bar.case, THREADS, BASELINE, OURS, bar.layouts)
        additions, copies = (results.ratio(bar.case, THREADS, OURS, name) for name in (FLOOR, COPY))
        judgements.append(Judgement(bar, speedup, additions, copies))
    return judgements
