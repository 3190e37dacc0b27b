"""Pictures of a run: speed-ups by shape, the roofline with our points, memory."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .cases import AnyCase
from .cost import cost
from .document import Document
from .ops import BASELINE, COMPILED, COPY, OURS
from .results import Results

COLOURS = {
    BASELINE: "#4878a8",
    COMPILED: "#e49444",
    "deform_conv2d": "#6a9f58",
    "FlexAttention": "#967662",
}
OTHER = "#a87c9f"
OURS_COLOUR = "#c1443c"
ROW_INCHES, MOST_ROWS = 0.62, 40

plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})


def draw(document: Document, folder: Path) -> list[Path]:
    """The files written; a picture of which nothing was measured is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, figure in (
        ("speedups.png", speedups(document)),
        ("roofline.png", roofline(document)),
        ("memory.png", memory(document)),
    ):
        if figure is not None:
            made.append(folder / name)
            figure.savefig(made[-1], dpi=110, bbox_inches="tight", metadata={"Software": None})
            plt.close(figure)
    return made


def threads_of(results: Results) -> int:
    """The largest number of threads that was measured, which is the one that is shown."""
    return max(row.threads for row in results.rows)


def shown(results: Results) -> list[AnyCase]:
    """The cases as drawn, the smallest lead first."""
    threads = threads_of(results)
    found = []
    for group, count in results.groups():
        if count == threads:
            found += [each for each in group.in_layouts if results.row(each, threads, OURS)]
    return found


def label(case: AnyCase) -> str:
    layout = "" if case.layout == "rows" else f", {case.layout}"
    return case.title.removesuffix(case.direction).strip() + f"\n{case.direction}{layout}"


def _device(document: Document) -> str:
    facts = document.environment
    threads = threads_of(document.results)
    if "gpu" in facts:
        return str(facts["gpu"])
    return f"{facts['cpu']}, {threads} thread{'s' if threads > 1 else ''}"


def _bars(count: int) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(10, 1.8 + ROW_INCHES * count))
    axes.set_ylim(count - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def speedups(document: Document) -> Figure | None:
    """How many times as long everything else takes, on a logarithmic axis; losing rows first."""
    results, threads = document.results, threads_of(document.results)
    chosen = [case for case in shown(results) if results.seconds(case, threads, OURS) is not None][
        :MOST_ROWS
    ]
    if not chosen:
        return None
    figure, axes = _bars(len(chosen))
    named = set()
    for y, case in enumerate(chosen):
        names = [
            name
            for name in results.names(case, threads)
            if name != OURS and results.seconds(case, threads, name) is not None
        ]
        height = 0.8 / max(len(names), 1)
        for number, name in enumerate(names):
            ratio = results.ratio(case, threads, name, OURS, (case.layout,)) or 0.0
            at = y - 0.4 + (number + 0.5) * height
            axes.barh(
                at,
                ratio,
                height,
                color=COLOURS.get(name, OTHER),
                label=None if name in named else name,
            )
            axes.text(ratio * 1.03, at, f"{ratio:.1f}", va="center", fontsize=8)
            named.add(name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color=OURS_COLOUR, linewidth=2, label=f"{OURS} = 1")
    axes.set_yticks(range(len(chosen)), [label(case) for case in chosen], fontsize=9)
    axes.set_xlabel(f"time in units of the {OURS} op's (right of the line: {OURS} is faster)")
    axes.set_title(f"Speed-up by shape\n{_device(document)}", loc="left")
    _legend(axes)
    return figure


def roofline(document: Document) -> Figure | None:
    """Operations a second over operations a byte, under the device's own two roofs."""
    results, threads = document.results, threads_of(document.results)
    points = [
        (case, name, seconds)
        for case in shown(results)
        for name in (OURS, BASELINE)
        if (seconds := results.seconds(case, threads, name)) is not None
    ]
    copies = [
        cost(case).bytes / seconds
        for case in shown(results)
        if (seconds := results.seconds(case, threads, COPY)) is not None
    ]
    rates = {key: rate for key, rate in results.flops_per_second.items() if key[1] == threads}
    if not points or not copies or not rates:
        return None
    figure, axes = plt.subplots(figsize=(9, 6))
    steepest, top = max(copies), max(rates.values())
    intensities = [cost(case).flops / cost(case).bytes for case, _, _ in points]
    ridge = top / steepest
    left, right = min(*intensities, ridge) / 3, max(*intensities, ridge) * 3
    axes.plot(
        [left, ridge, right],
        [left * steepest / 1e9, top / 1e9, top / 1e9],
        color="black",
        label=f"copy, {steepest / 1e9:.0f} GB/s read and written;\n"
        f"matrix product, {top / 1e9:.0f} GFLOP/s",
    )
    markers = {"forward": "o", "backward": "s", "both": "D"}
    seen = set()
    for case, name, seconds in points:
        least = cost(case)
        colour = OURS_COLOUR if name == OURS else COLOURS[BASELINE]
        key = f"{name}, {case.op}, {case.direction}"
        axes.scatter(
            least.flops / least.bytes,
            least.flops / seconds / 1e9,
            color=colour if case.op != "whitened_attention" else "none",
            edgecolors=colour,
            marker=markers[case.direction],
            s=46,
            label=None if key in seen else key,
        )
        seen.add(key)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations a byte, by the least that the op has to move")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"Roofline\n{_device(document)}", loc="left", pad=14)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def memory(document: Document) -> Figure | None:
    """Peak memory of one call, and what is kept for the backward."""
    results, threads = document.results, threads_of(document.results)
    chosen = []
    for case in reversed(shown(results)):
        rows = [
            row
            for name in results.names(case, threads)
            if (row := results.row(case, threads, name)) is not None and row.peak_bytes
        ]
        if len(rows) > 1:
            chosen.append((case, rows))
    chosen = chosen[:MOST_ROWS]
    if not chosen:
        return None
    figure, axes = _bars(len(chosen))
    named = set()
    for y, (_, rows) in enumerate(chosen):
        height = 0.8 / len(rows)
        for number, row in enumerate(rows):
            name, at = row.implementation, y - 0.4 + (number + 0.5) * height
            colour = OURS_COLOUR if name == OURS else COLOURS.get(name, OTHER)
            peak, saved = (row.peak_bytes or 0) / 1e6, (row.saved_bytes or 0) / 1e6
            shown_name = None if name in named else name
            axes.barh(at, peak, height, color=colour, label=shown_name)
            axes.barh(at, saved, height, left=peak, color=colour, alpha=0.35)
            kept = f" + {saved:.1f} kept" if saved else ""
            axes.text(peak + saved, at, f" {peak:.1f}{kept}", va="center", fontsize=8)
            named.add(name)
    axes.set_yticks(range(len(chosen)), [label(case) for case, _ in chosen], fontsize=9)
    axes.set_xlabel("MB: peak of one call; lighter: kept from the forward for the backward")
    axes.margins(x=0.15)
    axes.set_title(f"Memory\n{_device(document)}", loc="left")
    _legend(axes)
    return figure


def _legend(axes: Axes) -> None:
    """Above the bars, where it hides none."""
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=9, ncols=2, frameon=False)
