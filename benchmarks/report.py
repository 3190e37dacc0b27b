"""The tables for a person and the JSON for everything else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .bars import THREADS, Judgement
from .cases import LAYOUTS, Case
from .ops import COMPILED, FLOOR, OPS, OURS
from .results import Results
from .runner import FAILED, PAST_BUDGET, WRONG, Row

SCHEMA = 1
NAME_WIDTH = 18
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
        f"of {FLOOR} on the same output",
        style="dim",
    )


def _print_groups(console: Console, results: Results, groups: list[tuple[Case, int]]) -> None:
    columns = f"{'best':>10}{'median':>10}{'x':>8}{'add':>8}"
    console.print(" " * NAME_WIDTH + "".join(f"{layout:>36}" for layout in LAYOUTS), style="dim")
    console.print(" " * NAME_WIDTH + columns * len(LAYOUTS), style="dim")
    for case, threads in groups:
        noun = "thread" if threads == 1 else "threads"
        console.print(f"[bold]{case.title}, {threads} {noun}[/]")
        for name in (*OPS[case.op].implementations, COMPILED, FLOOR):
            rows = [results.row(replace(case, layout=each), threads, name) for each in LAYOUTS]
            present = [row for row in rows if row is not None]
            if all(row.note == PAST_BUDGET for row in present):
                continue
            cells = "".join(_cells(results, row) for row in rows)
            console.print(f"{'  ' + name:<{NAME_WIDTH}}{cells}".rstrip())
            for row in present:
                if row.status in BAD:
                    console.print(f"    {row.case.layout}: {row.note}", style="red", markup=False)


def _cells(results: Results, row: Row | None) -> str:
    """Best and median in ms, our lead, and the time in units of the floor's."""
    if row is None:
        return " " * 36
    if row.timing is None:
        return f"{row.status.upper() if row.status in BAD else '-':>10}" + " " * 26
    layout = (row.case.layout,)
    lead = results.ratio(row.case, row.threads, row.implementation, OURS, layout)
    floor = results.ratio(row.case, row.threads, row.implementation, FLOOR, layout)
    text = f"{1e3 * row.timing.best:10.3f}{1e3 * row.timing.median:10.3f}"
    if lead is None or row.implementation in (OURS, FLOOR):
        text += " " * 8
    else:
        text += f"[{'red' if lead < 1 else 'green'}]{lead:8.1f}[/]"
    return text + (" " * 8 if floor is None or row.implementation == FLOOR else f"{floor:8.1f}")


def print_bars(console: Console, judgements: list[Judgement]) -> None:
    table = Table(
        title=f"What is asked of semantic_refine on a CPU, {THREADS} threads, float32",
        title_justify="left",
        show_edge=False,
        pad_edge=False,
    )
    for name in ("direction", "layout", "over eager in", "output"):
        table.add_column(name, no_wrap=True)
    for name in ("asked", "moonshot", "measured"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("of add (aim)", justify="right", no_wrap=True)
    for each in judgements:
        bar = each.bar
        met = each.verdict.startswith("met")
        aim = (
            ""
            if bar.aim is None or each.additions is None
            else (f"{each.additions:.1f} ({bar.aim:g})")
        )
        table.add_row(
            bar.direction,
            bar.layout,
            "the same layout" if len(bar.layouts) == 1 else "its faster layout",
            "x".join(map(str, each.case.size)),
            f"x{bar.required:g}",
            "" if bar.moonshot is None else f"x{bar.moonshot:g}",
            "" if each.speedup is None else f"x{each.speedup:.1f}",
            f"[{'green' if met else 'red'}]{each.verdict}[/]",
            aim,
        )
    console.print(table)


def write_json(
    path: Path, environment: dict[str, object], results: Results, judgements: list[Judgement]
) -> None:
    document = {
        "schema": SCHEMA,
        "environment": environment,
        "rows": [_row(row) for row in results.rows],
        "bars": [
            {
                **_case(each.case),
                "threads": THREADS,
                "over_layouts": list(each.bar.layouts),
                "required": each.bar.required,
                "moonshot": each.bar.moonshot,
                "aim_additions": each.bar.aim,
                "speedup": each.speedup,
                "additions": each.additions,
                "verdict": each.verdict,
            }
            for each in judgements
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def _case(case: Case) -> dict[str, object]:
    return {
        "op": case.op,
        "batch": case.batch,
        "channels": case.channels,
        "low": list(case.low),
        "size": list(case.size),
        "dtype": str(case.dtype).removeprefix("torch."),
        "layout": case.layout,
        "direction": case.direction,
        "field": case.field,
    }


def _row(row: Row) -> dict[str, object]:
    timing = row.timing
    return {
        **_case(row.case),
        "threads": row.threads,
        "implementation": row.implementation,
        "status": row.status,
        "note": row.note,
        "seconds": None if timing is None else timing.best,
        "seconds_median": None if timing is None else timing.median,
        "runs": None if timing is None else timing.runs,
        "errors": row.errors,
        "compile_seconds": row.compile_seconds,
    }
