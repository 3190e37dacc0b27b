"""Means, spreads and paired bootstrap intervals of scores; fractions, not per cent."""

from __future__ import annotations

from typing import Any

import numpy as np

from .images import Images

METRICS = {"miou": Images.miou, "boundary_f": Images.boundary_f}
RESAMPLES = 10_000


def bootstrap(metric: Any, pairs: list[tuple[Images, Images]], seed: int = 0) -> dict[str, Any]:
    """The mean difference of pairs of runs, its value for each, and its 95 % interval over
    images."""
    count = len(pairs[0][0].confusion)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)
    drawn = np.mean([metric(a, weights) - metric(b, weights) for a, b in pairs], axis=0)
    each = [plain(metric, a) - plain(metric, b) for a, b in pairs]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        "mean": float(np.mean(each)),
        "each": each,
        "low": float(low),
        "high": float(high),
        "share_above_zero": float(np.mean(drawn > 0)),
    }


def plain(metric: Any, images: Images) -> float:
    """Of every image once."""
    return float(metric(images, np.ones((1, len(images.confusion))))[0])


def spread(values: dict[int, float]) -> dict[str, Any]:
    """Mean and standard deviation over seeds."""
    numbers = list(values.values())
    deviation = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    return {"mean": float(np.mean(numbers)), "deviation": deviation, "by_seed": values}


def with_spread(entry: dict[str, Any]) -> str:
    """In per cent."""
    deviation = entry["deviation"]
    return f"{100 * entry['mean']:.2f}" + (f" ± {100 * deviation:.2f}" if deviation else "")


def budget_line(budget: dict[str, Any]) -> str:
    steps = f", stopped after {budget['steps']} steps" if budget["steps"] else ""
    seeds = ", ".join(map(str, budget["seeds"]))
    over = f"seeds {seeds}; mean and standard deviation over the seeds"
    return (
        f"{budget['epochs']} epochs a run{steps}, crops {budget['crop'][0]}x{budget['crop'][1]}, "
        f"{over if len(budget['seeds']) > 1 else f'seed {seeds}'}."
    )
