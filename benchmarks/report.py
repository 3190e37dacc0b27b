"""The tables of a run on the screen."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from .bars import THREADS, Judgement, speedup_text
from .cases import LAYOUTS, AnyCase
from .ops import FLOOR, OURS
from .results import Results
from .runner import FAILED, LEFT_OUT, WRONG, YARDSTICKS, Row

NAME_WIDTH = 18
COLUMNS = {"best": 10, "median": 10, "x": 7, "add": 7, "floor": 8, "MB": 8}
WIDTH = sum(COLUMNS.values())
BAD = (WRONG, FAILED)


def print_results(console: Console, results: Results) -> None:
    groups = results.groups()
    losing = [key for key in groups if results.lead(*key) < 1]
    if losing:
        console.print("\n[bold red]Slower than a baseline, or refused[/]")
        _print_groups(console, results, losing)
    if len(losing) < len(groups):
        title = "Faster than every baseline" + ("" if losing else " in every case")
        console.print(f"\n[bold green]{title}[/], the smallest lead first")
        _print_groups(console, results, groups[len(losing) :])
    console.print(
        f"\nbest, median: milliseconds; x: how much faster the {OURS} op is; add: time in units "
        f"of {FLOOR} on the same output;\nfloor: share of the speed of a copy of as many bytes as "
        "the op has to move (or of a matrix product of as many operations);\nMB: peak of what one "
        "call allocates, results included",
        style="dim",
    )


def _print_groups(console: Console, results: Results, groups: list[tuple[AnyCase, int]]) -> None:
    columns = "".join(f"{name:>{width}}" for name, width in COLUMNS.items())
    titles = "".join(f"{layout:>{WIDTH}}" for layout in LAYOUTS)
    console.print(" " * NAME_WIDTH + titles, style="dim")
    console.print(" " * NAME_WIDTH + columns * len(LAYOUTS), style="dim")
    for case, threads in groups:
        noun = "thread" if threads == 1 else "threads"
        console.print(f"[bold]{case.title}, {threads} {noun}[/]")
        for name in (*results.names(case, threads), *YARDSTICKS):
            rows = [results.row(each, threads, name) for each in case.in_layouts]
            present = [row for row in rows if row is not None]
            if all(row.status == LEFT_OUT for row in present):
                continue
            cells = "".join(_cells(results, row) for row in rows)
            console.print(f"{'  ' + name:<{NAME_WIDTH}}{cells}".rstrip())
            for row in present:
                if row.status in BAD:
                    console.print(f"    {row.case.layout}: {row.note}", style="red", markup=False)


def _cells(results: Results, row: Row | None) -> str:
    """As many as there are columns."""
    if row is None:
        return " " * WIDTH
    if row.timing is None:
        return f"{row.status.upper() if row.status in BAD else '-':>10}" + " " * (WIDTH - 10)
    case, threads, name = row.case, row.threads, row.implementation
    layout = (case.layout,)
    yardstick = name in YARDSTICKS
    lead = None
    if name != OURS and not yardstick:
        lead = results.ratio(case, threads, name, OURS, layout)
    additions = None if yardstick else results.ratio(case, threads, name, FLOOR, layout)
    least = None if yardstick else results.floor_seconds(case, threads)
    text = f"{1e3 * row.timing.best:10.3f}{1e3 * row.timing.median:10.3f}"
    if lead is None:
        text += " " * COLUMNS["x"]
    else:
        text += f"[{'red' if lead < 1 else 'green'}]{lead:{COLUMNS['x']}.1f}[/]"
    text += _number(additions, COLUMNS["add"], ".1f")
    share = None if least is None else 100 * least / row.timing.best
    text += _number(share, COLUMNS["floor"] - 1, ".0f") + (" " if share is None else "%")
    return text + _number(
        None if row.peak_bytes is None else row.peak_bytes / 1e6, COLUMNS["MB"], ".1f"
    )


def _number(value: float | None, width: int, format: str) -> str:
    return " " * width if value is None else f"{value:{width}{format}}"


def print_bars(console: Console, judgements: list[Judgement]) -> None:
    table = Table(
        title=f"Targets of semantic_refine on a CPU, {THREADS} threads, float32",
        title_justify="left",
        show_edge=False,
        pad_edge=False,
    )
    for name in ("direction", "layout", "over eager in", "output"):
        table.add_column(name, no_wrap=True)
    for name in ("target", "stretch", "measured"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name in ("of add (target)", "of copy"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in judgements:
        bar = each.bar
        met = each.verdict.startswith("met")
        aim = "" if bar.aim is None else f" ({bar.aim:g})"
        table.add_row(
            bar.direction,
            bar.layout,
            "the same layout" if len(bar.layouts) == 1 else "its faster layout",
            "x".join(map(str, each.case.size)),
            f"x{bar.required:g}",
            "" if bar.moonshot is None else f"x{bar.moonshot:g}",
            speedup_text(each.speedup),
            f"[{'green' if met else 'red'}]{each.verdict}[/]",
            "" if each.additions is None else f"{each.additions:.1f}{aim}",
            "" if each.copies is None else f"{each.copies:.1f}",
        )
    console.print(table)
