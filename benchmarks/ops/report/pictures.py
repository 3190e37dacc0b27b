"""Pictures of a run: speed-ups by shape, the roofline with our points, memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..case import BASELINE, OURS, Case
from ..cost import cost
from ..results import COPY, Document

OURS_COLOUR = "#c1443c"
OTHER_COLOURS = ("#4878a8", "#e49444", "#6a9f58", "#967662", "#a87c9f")
ROW_INCHES, MOST_ROWS = 0.62, 40
Bars = list[tuple[Case, list[tuple[str, float, float]]]]  # by row name: a value, and one beyond it

plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})


def draw(document: Document, folder: Path) -> list[Path]:
    """The files written; a picture of which nothing was measured is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for picture in (speedups, roofline, memory):
        figure = picture(document)
        if figure is not None:
            made.append(folder / f"{picture.__name__}.png")
            figure.savefig(made[-1], dpi=110, bbox_inches="tight", metadata={"Software": None})
            plt.close(figure)
    return made


def label(case: Case) -> str:
    layout = "" if case.name == case.title else f", {case.layout}"
    return case.title.removesuffix(case.direction).strip() + f"\n{case.direction}{layout}"


def _titled(axes: Axes, title: str, document: Document) -> None:
    facts, threads = document.environment, document.results.threads
    device = facts.get("gpu") or f"{facts['cpu']}, {threads} thread{'s'[: threads != 1]}"
    axes.set_title(f"{title}\n{device}", loc="left", pad=14)


def _bars(document: Document, title: str, bars: Bars) -> tuple[Figure, Axes] | None:
    """A group of bars for each case, and the row's value beside each bar."""
    bars = bars[:MOST_ROWS]
    if not bars:
        return None
    figure, axes = plt.subplots(figsize=(10, 1.8 + ROW_INCHES * len(bars)))
    others = [n for n in dict.fromkeys(n for _, rows in bars for n, _, _ in rows) if n != OURS]
    colours = {n: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, n in enumerate(others)}
    colours[OURS] = OURS_COLOUR
    named = set()
    for y, (_, rows) in enumerate(bars):
        height = 0.8 / len(rows)
        for number, (name, value, beyond) in enumerate(rows):
            at = y - 0.4 + (number + 0.5) * height
            shown = None if name in named else name
            axes.barh(at, value, height, color=colours[name], label=shown)
            axes.barh(at, beyond, height, left=value, color=colours[name], alpha=0.35)
            text = f" {value:.1f}" + (f" + {beyond:.1f} kept" if beyond else "")
            axes.text(value + beyond, at, text, va="center", fontsize=8)
            named.add(name)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_yticks(range(len(bars)), [label(case) for case, _ in bars], fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.margins(x=0.15)
    _titled(axes, title, document)
    # Above the bars, where it hides none.
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=9, ncols=2, frameon=False)
    return figure, axes


def speedups(document: Document) -> Figure | None:
    """How many times as long everything else takes, on a logarithmic axis; losing rows first."""
    results, threads = document.results, document.results.threads
    bars: Bars = []
    for case in results.shown():
        names = (name for name in results.names(case, threads) if name != OURS)
        ratios = ((name, results.ratio(case, threads, name, OURS)) for name in names)
        known = [(name, ratio, 0.0) for name, ratio in ratios if ratio is not None]
        if known:
            bars.append((case, known))
    drawn = _bars(document, "Speed-up by shape", bars)
    if drawn is None:
        return None
    figure, axes = drawn
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color=OURS_COLOUR, linewidth=2)
    axes.set_xlabel(f"time in units of the {OURS} op's (right of the line: {OURS} is faster)")
    return figure


def memory(document: Document) -> Figure | None:
    """Peak memory of one call, and what is kept for the backward."""
    results, threads = document.results, document.results.threads
    bars: Bars = []
    for case in reversed(results.shown()):
        found = (results.row(case, threads, name) for name in results.names(case, threads))
        rows = [
            (row.implementation, row.peak_bytes / 1e6, (row.saved_bytes or 0) / 1e6)
            for row in found
            if row is not None and row.peak_bytes
        ]
        if len(rows) > 1:
            bars.append((case, rows))
    drawn = _bars(document, "Memory", bars)
    if drawn is None:
        return None
    figure, axes = drawn
    axes.set_xlabel("MB: peak of one call; lighter: kept from the forward for the backward")
    return figure


def _points(document: Document, names: Sequence[str]) -> Iterator[tuple[Case, str, float]]:
    for case in document.results.shown():
        for name in names:
            seconds = document.results.seconds(case, document.results.threads, name)
            if seconds is not None:
                yield case, name, seconds


def roofline(document: Document) -> Figure | None:
    """Operations a second over operations a byte, under the device's own two roofs."""
    results = document.results
    points = list(_points(document, (OURS, BASELINE)))
    copies = [cost(case).bytes / seconds for case, _, seconds in _points(document, (COPY,))]
    rates = [rate for key, rate in results.flops_per_second.items() if key[1] == results.threads]
    if not points or not copies or not rates:
        return None
    figure, axes = plt.subplots(figsize=(9, 6))
    steepest, top = max(copies), max(rates)
    ridge = top / steepest
    intensities = [cost(case).flops / cost(case).bytes for case, _, _ in points]
    left, right = min(*intensities, ridge) / 3, max(*intensities, ridge) * 3
    axes.plot(
        [left, ridge, right],
        [left * steepest / 1e9, top / 1e9, top / 1e9],
        color="black",
        label=f"copy, {steepest / 1e9:.0f} GB/s read and written;\n"
        f"matrix product, {top / 1e9:.0f} GFLOP/s",
    )
    markers = {"forward": "o", "backward": "s", "both": "D"}
    ops = list(dict.fromkeys(case.op for case, _, _ in points))
    seen = set()
    for (case, name, seconds), intensity in zip(points, intensities, strict=True):
        colour = OURS_COLOUR if name == OURS else OTHER_COLOURS[0]
        shown = f"{name}, {case.op}, {case.direction}"
        axes.scatter(
            intensity,
            cost(case).flops / seconds / 1e9,
            color="none" if ops.index(case.op) % 2 else colour,
            edgecolors=colour,
            marker=markers[case.direction],
            s=46,
            label=None if shown in seen else shown,
        )
        seen.add(shown)
    axes.set(xscale="log", yscale="log", ylabel="GFLOP/s")
    axes.set_xlabel("operations a byte, by the least that the op has to move")
    _titled(axes, "Roofline", document)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure
