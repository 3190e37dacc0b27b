"""Means, spreads and paired bootstrap intervals, as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.tables import table

from .images import Images
from .runs import BASELINE, BOTH, CRM, SRM, VARIANTS, Budget

JSON, MARKDOWN = "table1.json", "table1.md"
PAIRS = ((SRM, BASELINE), (CRM, BASELINE), (BOTH, BASELINE), (BOTH, SRM), (BOTH, CRM))
METRICS = {"miou": Images.miou, "boundary_f": Images.boundary_f}
RESAMPLES = 10_000


def summarise(budget: Budget, scores: dict[str, dict[int, Images]]) -> dict[str, Any]:
    """Everything as JSON takes it; fractions, not per cent.

    Variants have a mean and a standard deviation over their seeds. Differences have an interval
    that holds 95 % of their values when the images are drawn anew with replacement, the same
    images for both and for all seeds, which both have.
    """
    variants = {
        variant.name: {
            name: _spread({seed: _plain(metric, images) for seed, images in by_seed.items()})
            for name, metric in METRICS.items()
        }
        for variant in VARIANTS
        if (by_seed := scores[variant.name])
    }
    differences = []
    for one, other in PAIRS:
        seeds = sorted(scores[one.name].keys() & scores[other.name].keys())
        if seeds:
            pairs = [(scores[one.name][s], scores[other.name][s]) for s in seeds]
            entry = {"of": one.name, "over": other.name, "seeds": seeds}
            differences.append(entry | {name: bootstrap(m, pairs) for name, m in METRICS.items()})
    return {
        "budget": asdict(budget),
        "resamples": RESAMPLES,
        "variants": variants,
        "differences": differences,
    }


def bootstrap(metric: Any, pairs: list[tuple[Images, Images]], seed: int = 0) -> dict[str, Any]:
    """The mean difference of pairs of runs, its value for each, and its 95 % interval over
    images."""
    count = len(pairs[0][0].confusion)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)
    drawn = np.mean([metric(a, weights) - metric(b, weights) for a, b in pairs], axis=0)
    each = [_plain(metric, a) - _plain(metric, b) for a, b in pairs]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        "mean": float(np.mean(each)),
        "each": each,
        "low": float(low),
        "high": float(high),
        "share_above_zero": float(np.mean(drawn > 0)),
    }


def _plain(metric: Any, images: Images) -> float:
    return float(metric(images, np.ones((1, len(images.confusion))))[0])


def _spread(values: dict[int, float]) -> dict[str, Any]:
    numbers = list(values.values())
    deviation = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    return {"mean": float(np.mean(numbers)), "deviation": deviation, "by_seed": values}


def markdown(result: dict[str, Any]) -> str:
    return "\n".join(_lines(result)) + "\n"


def _lines(result: dict[str, Any]) -> Iterator[str]:
    budget = result["budget"]
    steps = f", stopped after {budget['steps']} steps" if budget["steps"] else ""
    yield (
        f"{budget['epochs']} epochs a run{steps}, crops {budget['crop'][0]}x{budget['crop'][1]}, "
        f"seeds {', '.join(map(str, budget['seeds']))}; mean and standard deviation over the seeds."
    )
    yield ""
    rows = []
    for variant in VARIANTS:
        row = result["variants"].get(variant.name)
        seeds = 0 if row is None else len(row["miou"]["by_seed"])
        rows.append(
            (variant.title, seeds, *("" if row is None else _with_spread(row[m]) for m in METRICS))
        )
    yield table(("", "seeds", "mIoU %", "boundary F %"), rows)
    yield ""
    yield (
        "Differences in points: mean of the seeds that both have (the value of each), and the 95 % "
        f"interval of a paired bootstrap over the images ({result['resamples']} resamples)."
    )
    yield ""
    rows = []
    for difference in result["differences"]:
        cells = [f"{difference['of']} - {difference['over']}"]
        for metric in METRICS:
            entry = difference[metric]
            each = ", ".join(f"{100 * value:+.2f}" for value in entry["each"])
            cells.append(f"{100 * entry['mean']:+.2f} ({each})")
            cells.append(f"{100 * entry['low']:+.2f} to {100 * entry['high']:+.2f}")
        rows.append(cells)
    yield table(("", "mIoU", "interval", "boundary F", "interval"), rows)


def _with_spread(entry: dict[str, Any]) -> str:
    deviation = entry["deviation"]
    return f"{100 * entry['mean']:.2f}" + (f" ± {100 * deviation:.2f}" if deviation else "")


def write(folder: Path, result: dict[str, Any]) -> None:
    (folder / JSON).write_text(json.dumps(result, indent=1) + "\n")
    (folder / MARKDOWN).write_text(markdown(result))
