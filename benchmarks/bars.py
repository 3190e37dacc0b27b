"""What the fused op has to reach on a CPU with two threads, and by how much it does."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .cases import LAYOUTS, Case
from .ops import BASELINE, COPY, FLOOR, OURS
from .results import Results

THREADS = 2
SHAPES = (((32, 64), (64, 128)), ((64, 128), (128, 256)))


@dataclass(frozen=True)
class Bar:
    """``required`` and ``moonshot`` are speed-ups over eager in the fastest of ``layouts``;
    ``aim`` is the most that the op should take in units of ``torch.add(out=)``."""

    direction: str
    layout: str
    layouts: tuple[str, ...]
    required: float
    moonshot: float | None = None
    aim: float | None = None


BARS = (
    Bar("forward", "nchw", ("nchw",), 9, 16, aim=2),
    Bar("forward", "channels_last", ("channels_last",), 14, 22, aim=2),
    Bar("forward", "nchw", LAYOUTS, 6),
    Bar("forward", "channels_last", LAYOUTS, 6),
    Bar("backward", "nchw", ("nchw",), 10, 20, aim=5),
    Bar("backward", "channels_last", ("channels_last",), 10, 20, aim=5),
)


@dataclass(frozen=True)
class Judgement:
    """A bar at a shape; the figures are None where a row was refused. ``additions`` and
    ``copies`` are the op's time in units of the yardsticks, which hold across machines."""

    bar: Bar
    case: Case
    speedup: float | None
    additions: float | None
    copies: float | None

    @property
    def verdict(self) -> str:
        if self.speedup is None:
            return "not measured"
        if self.bar.moonshot is not None and self.speedup >= self.bar.moonshot:
            return "met, stretch too"
        return "met" if self.speedup >= self.bar.required else "MISSED"


def speedup_text(speedup: float | None) -> str:
    """Rounded down: what missed a bar must not read as if it had met it."""
    return "" if speedup is None else f"x{math.floor(10 * speedup) / 10:.1f}"


def judge(results: Results) -> list[Judgement]:
    """Every bar at every shape that was measured."""
    judgements = []
    for bar in BARS:
        for low, size in SHAPES:
            case = Case("semantic_refine", low, size, layout=bar.layout, direction=bar.direction)
            if results.row(case, THREADS, OURS) is None:
                continue
            speedup = results.ratio(case, THREADS, BASELINE, OURS, bar.layouts)
            additions, copies = (
                results.ratio(case, THREADS, OURS, name, (bar.layout,)) for name in (FLOOR, COPY)
            )
            judgements.append(Judgement(bar, case, speedup, additions, copies))
    return judgements
