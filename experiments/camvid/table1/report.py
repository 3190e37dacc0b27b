"""Means, spreads and paired bootstrap intervals, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.common.tables import table

from .. import statistics
from ..images import Images
from ..runs import Budget, Run
from ..statistics import METRICS, bootstrap, budget_line, plain, spread, with_spread
from .variants import BASELINE, BOTH, CRM, SRM, VARIANTS

PAIRS = ((SRM, BASELINE), (CRM, BASELINE), (BOTH, BASELINE), (BOTH, SRM), (BOTH, CRM))


def summarise(budget: Budget, runs: Sequence[Run], ended: dict[str, Images]) -> dict[str, Any]:
    """Everything as JSON takes it; fractions, not per cent.

    Variants have a mean and a standard deviation over their seeds. Differences have an interval
    that holds 95 % of their values when the images are drawn anew with replacement, the same
    images for both and for all seeds, which both have.
    """
    scores: dict[str, dict[int, Images]] = {variant.name: {} for variant in VARIANTS}
    for run in runs:
        if run.name in ended:
            scores[run.variant.name][run.seed] = ended[run.name]
    variants = {
        variant.name: {
            name: spread({seed: plain(metric, images) for seed, images in by_seed.items()})
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
        "resamples": statistics.RESAMPLES,
        "variants": variants,
        "differences": differences,
    }


def markdown(result: dict[str, Any]) -> str:
    return "\n".join(_lines(result)) + "\n"


def _lines(result: dict[str, Any]) -> Iterator[str]:
    yield budget_line(result["budget"])
    yield ""
    rows = []
    for variant in VARIANTS:
        row = result["variants"].get(variant.name)
        seeds = 0 if row is None else len(row["miou"]["by_seed"])
        rows.append(
            (variant.title, seeds, *("" if row is None else with_spread(row[m]) for m in METRICS))
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
