"""Whether the fused ops reach on a CPU with two threads what they have to, and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..common.yardstick import COPY, FLOOR
from .case import BASELINE, OURS, Bar
from .cases import FAMILIES
from .results import Results

THREADS = 2
MISSED = "MISSED"


def speedup_text(speedup: float | None) -> str:
    """Rounded down: what missed a bar must not read as if it had met it."""
    return "" if speedup is None else f"x{math.floor(10 * speedup) / 10:.1f}"


def leads(speedups: Iterable[tuple[str, str, float | None]]) -> str:
    """Of every op and direction the smallest and the largest that was measured; where the
    smallest lead is comes first."""
    found: dict[str, list[float]] = {}
    for op, direction, speedup in speedups:
        if speedup is not None:
            found.setdefault(f"`{op}` {direction}", []).append(speedup)
    texts = []
    for name, each in sorted(found.items(), key=lambda item: min(item[1])):
        ends = dict.fromkeys(map(speedup_text, (min(each), max(each))))
        texts.append(f"{name} {' to '.join(ends)}")
    return ", ".join(texts)


def judge(results: Results) -> list[dict[str, Any]]:
    """Every bar that was measured, for JSON. ``additions`` and ``copies`` are the op's time in
    units of the yardsticks, which hold across machines; of a refused row all figures are None."""
    return [
        {
            **bar.case.to_json(),
            "threads": THREADS,
            "over_layouts": list(bar.layouts),
            "required": bar.required,
            "moonshot": bar.moonshot,
            "aim_additions": bar.aim,
            "speedup": (speedup := results.ratio(bar.case, THREADS, BASELINE, OURS, bar.layouts)),
            "additions": results.ratio(bar.case, THREADS, OURS, FLOOR),
            "copies": results.ratio(bar.case, THREADS, OURS, COPY),
            "verdict": _verdict(bar, speedup),
        }
        for family in FAMILIES.values()
        for bar in family.bars
        if results.row(bar.case, THREADS, OURS) is not None
    ]


def _verdict(bar: Bar, speedup: float | None) -> str:
    if speedup is None:
        return "not measured"
    if bar.moonshot is not None and speedup >= bar.moonshot:
        return "met, stretch too"
    return "met" if speedup >= bar.required else MISSED
