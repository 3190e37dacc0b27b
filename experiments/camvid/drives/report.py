"""Scores by the drive that was left out, and their means, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.common.tables import table

from ..images import Images
from ..runs import Budget, Run
from ..statistics import METRICS, budget_line, plain, spread, with_spread
from .folds import PLAIN, VARIANTS

Scores = dict[str, dict[str, dict[int, float]]]


def summarise(budget: Budget, runs: Sequence[Run], ended: dict[str, Images]) -> dict[str, Any]:
    """Everything as JSON takes it; fractions, not per cent.

    The mean of a variant is that of its drives, each with the same weight, for every seed that has
    all drives; its deviation is over these seeds. Differences are of such seeds that both have.
    """
    drives = sorted({run.data.name for run in runs})
    result: dict[str, Any] = {"budget": asdict(budget), "drives": drives, "variants": {}}
    for metric, score in METRICS.items():
        scores: Scores = {}
        for run in runs:
            if run.name in ended:
                by_drive = scores.setdefault(run.variant.name, {})
                by_drive.setdefault(run.data.name, {})[run.seed] = plain(score, ended[run.name])
        means = {name: _means(by_drive, drives) for name, by_drive in scores.items()}
        for name, by_drive in scores.items():
            entry = result["variants"].setdefault(name, {})
            over = {
                seed: mean - means[PLAIN.name][seed]
                for seed, mean in means[name].items()
                if seed in means.get(PLAIN.name, {})
            }
            entry[metric] = {
                "drives": {drive: spread(by_seed) for drive, by_seed in sorted(by_drive.items())},
                "mean": spread(means[name]) if means[name] else None,
                "over_plain": over if name != PLAIN.name else {},
            }
    return result


def _means(by_drive: dict[str, dict[int, float]], drives: list[str]) -> dict[int, float]:
    """By the seeds that every drive has."""
    seeds = set.intersection(*(set(by_drive.get(drive, {})) for drive in drives))
    return {
        seed: float(np.mean([by_drive[drive][seed] for drive in drives])) for seed in sorted(seeds)
    }


def markdown(result: dict[str, Any]) -> str:
    return "\n".join(_lines(result)) + "\n"


def _lines(result: dict[str, Any]) -> Iterator[str]:
    yield budget_line(result["budget"])
    drives = result["drives"]
    head = ("", *drives, "mean", "over plain")
    for metric, title in (("miou", "mIoU"), ("boundary_f", "Boundary F-score")):
        yield ""
        yield (
            f"{title} in per cent on the drive that was left out; the difference of the means from "
            "the plain pyramid's in points, for each seed."
        )
        yield ""
        rows = []
        for variant in VARIANTS:
            found = result["variants"].get(variant.name)
            if found is None:
                continue
            entry = found[metric]
            cells = [
                with_spread(entry["drives"][d]) if d in entry["drives"] else "" for d in drives
            ]
            mean = "" if entry["mean"] is None else with_spread(entry["mean"])
            over = ", ".join(f"{100 * value:+.2f}" for value in entry["over_plain"].values())
            rows.append((variant.title, *cells, mean, over))
        yield table(head, rows)
