"""What came out, for a person and for the docs; and the reasons why a mistake may survive."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .driver import EQUIVALENT, KILLED, STILLBORN, SURVIVED, Driver, counted
from .mutation import ROOT, Mutation

PAGE = ROOT / "docs" / "planted_bugs.md"
SUITES = ROOT / "tests" / "planted_bugs" / "suites"


@dataclass(frozen=True)
class Summary:
    text: str
    share: float
    complaints: list[str]


def reasons(suite: str) -> dict[str, str]:
    """Why a mutation, known by its identity, may survive."""
    file = SUITES / suite / "survivors.json"
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def summary(driver: Driver) -> Summary:
    found = list(counted(driver))
    killed = [each for each in found if each[1].status == KILLED]
    survivors = [mutation for mutation, outcome in found if outcome.status == SURVIVED]
    known = reasons(driver.suite.name)
    complaints = [
        f"survived, and no reason is on record: {each.identity}"
        for each in survivors
        if each.identity not in known
    ]
    complaints += [
        f"noticed, though a reason is on record: {each.identity}"
        for each, _ in killed
        if each.identity in known
    ]
    share = len(killed) / len(found) if found else 0.0
    text = f"{driver.suite.name}: {len(killed)} of {len(found)} noticed ({share:.1%})"
    return Summary(text, share, complaints)


def write(drivers: Sequence[Driver]) -> None:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join([INTRODUCTION, *(section(driver) for driver in drivers)]))


INTRODUCTION = """\
# Planted bugs

Tests that pass say little unless they fail for a wrong kernel. So small mistakes are planted in the
kernels' sources, one at a time, and the tests that are to notice run on each: `make planted-bugs`,
or `python -m tests.planted_bugs --report`, which also writes this page. Some mistakes were thought
up; the others are drawn at random from every place where a rule applies: a comparison that gains or
loses its boundary or is turned round, `&&` for `||`, a dropped `+ 1` or `- 1`, a dropped barrier, a
plain sum for an atomic one. A mutation whose pattern is no longer in the source is an error. Those
that do not compile, and those whose compiled code is the same, do not count.

What came out of each is kept in [outcomes](../tests/planted_bugs/outcomes), and holds for the
sources and tests that it came out of. Where these have changed since, a mistake waits to be tried
again, and is not counted here.
"""


def section(driver: Driver) -> str:
    suite, found = driver.suite, list(counted(driver))
    drawn = [each for each in found if each[0].at is not None]
    killed = [each for each in found if each[1].status == KILLED]
    left_out = [driver.outcome(each) for each in driver.drawn]
    same = sum(each is not None and each.status == EQUIVALENT for each in left_out)
    stillborn = sum(each is not None and each.status == STILLBORN for each in left_out)
    stages: dict[str, int] = {}
    for _, outcome in killed:
        stages[outcome.stage] = stages.get(outcome.stage, 0) + 1
    waiting = sum(driver.outcome(each) is None for each in driver.wanted())
    wait = f"Waiting to be tried with these sources and tests: {waiting}."
    lines = [f"## {suite.title}", ""]
    if not found:
        return "\n".join([*lines, wait, ""])
    lines += [
        f"{summary(driver).text.split(': ', 1)[1]}: {len(found) - len(drawn)} chosen, "
        f"{len(drawn)} drawn (seed {suite.seed}). Not counted: {same} that compile to the same "
        f"code, {stillborn} that do not compile." + f" {wait}" * bool(waiting),
        "Noticed in the stages: " + ", ".join(f"{k} {v}" for k, v in sorted(stages.items())) + ".",
        "",
    ]
    known = reasons(suite.name)
    survivors = [mutation for mutation, outcome in found if outcome.status == SURVIVED]
    if survivors:
        lines += ["Survivors:", ""]
        lines += [f"- {shown(each)}: {known.get(each.identity, '?')}" for each in survivors]
        lines.append("")
    lines += ["| mistake | first test that failed | stage |", "| --- | --- | --- |"]
    for mutation, outcome in found:
        by = f"`{outcome.by}`" if outcome.status == KILLED else "**survived**"
        # In a table a bar ends the cell, in code, too, but for an escaped one.
        cells = [cell.replace("|", "\\|") for cell in (shown(mutation), by)]
        lines.append(f"| {' | '.join(cells)} | {outcome.stage} |")
    return "\n".join([*lines, ""])


def shown(mutation: Mutation) -> str:
    """With the file's name instead of its path, which is enough for a person."""
    if mutation.at is None:
        return mutation.name.replace(mutation.file, Path(mutation.file).stem)
    change = mutation.name.split(" ", 1)[1]
    return f"{Path(mutation.file).name}: {change} in `{mutation.line}`"
