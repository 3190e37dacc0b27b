"""What was measured on a GPU, for a person: the page beside the JSON, and the README's table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..common.tables import number, table
from ..ops import bars
from ..ops.bars import MISSED, speedup_text
from ..ops.case import BASELINE, OURS
from ..ops.cases import FAMILIES
from .check import STAGES
from .record import OK

Merged = dict[str, Any]
Row = dict[str, Any]
COLUMNS = ("call", "graph", "kernels")


def report(merged: Merged, predictions: dict[str, Any] | None) -> str:
    stages = table(("stage", "status", "seconds", "its share"), _stages(merged), 2)
    lines = [f"# {merged['device']}", "", measured_at(merged, predictions), "", stages]
    rows = {stage: _rows(merged, stage) for stage in STAGES}
    sections: dict[str, Iterable[str]] = {
        "Tests marked `cuda`": _tests(rows["test"]),
        "Every op, way, type, layout and direction, against float64": _smoke(rows["smoke"]),
        "Times in microseconds": _key(rows["key"]),
        "What others' operators need, where there is no fused op yet, in microseconds": _others(
            rows["key"]
        ),
        "Kernel by kernel": _kernels(rows["key"]),
        "The whole network, fuse(), random weights": _network(rows["network"]),
        "Nsight Compute": _counters(rows["profile"]),
        "compute-sanitizer": (
            f"- {row['name']}: {row['status']}, {row['errors']} errors" for row in rows["sanitize"]
        ),
    }
    if predictions is not None:
        before = is_before(merged, predictions)
        title = "Predicted for the next visit" if before else "Predicted, and measured"
        sections[title] = _predicted(merged, predictions)
    for title, section in sections.items():
        made = list(section)
        lines += ["", f"## {title}", "", *made] if made else []
    return "\n".join(lines).rstrip() + "\n"


def measured_at(merged: Merged, predictions: Mapping[str, Any] | None) -> str:
    facts = merged["facts"]
    known = {"driver": facts.get("driver_version"), "torch": facts.get("torch"),
             "triton": facts.get("triton"), "Python": merged["python"]}  # fmt: skip
    versions = ", ".join(f"{name} {value}" for name, value in known.items() if value)
    text = f"{merged['device']}, {versions}, {merged['date'][:10]}. Measured at {merged['commit']}."
    return text + _since(merged, predictions)


def _since(merged: Merged, predictions: Mapping[str, Any] | None) -> str:
    before = predictions is not None and is_before(merged, predictions)
    return f" {predictions['since']}" if before else ""


def is_before(merged: Merged, predictions: Mapping[str, Any]) -> bool:
    """Whether the predictions were made of this measurement, for the next one."""
    return str(merged["commit"] or "").startswith(predictions["made_at"])


def _stages(merged: Merged) -> Iterator[tuple[str, ...]]:
    for name, stage in merged["stages"].items():
        status = stage["status"]
        if status == "running":
            status = "cut off: killed while it ran"
        rows, planned = stage.get("rows", []), stage.get("planned")
        if status != OK and planned:
            ended = sum(row["status"] == OK for row in rows)
            status += f"; {ended} of {planned} cases ended well"
        yield name, status, number(stage["seconds"], 0), number(stage.get("share_seconds"), 0)


def _rows(merged: Merged, stage: str) -> list[Row]:
    return list(merged["stages"].get(stage, {}).get("rows", []))


def _key_rows(merged: Merged) -> dict[str, Row]:
    """By name; without that of the device's own rates."""
    return {row["name"]: row for row in _rows(merged, "key") if "rows" in row}


def _tests(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        cut = "" if row["status"] != "running" else " before the time was up"
        skipped = sum(row["skipped"].values())
        yield (
            f"- {row['name']}: {row['passed']} passed, {len(row['failed'])} failed, {skipped} "
            f"skipped{cut}."
        )
        yield from (f"  - failed: `{name}` {why}".rstrip() for name, why in row["failed"].items())
        yield from (f"  - skipped {n}: {why}" for why, n in row["skipped"].items())


def _smoke(rows: Sequence[Row]) -> Iterator[str]:
    bad = [row for row in rows if row["status"] != OK]
    if rows:
        yield f"{len(rows) - len(bad)} of {len(rows)} cases agree."
    yield from (f"- {row['status']}: {row['name']} {row.get('note', '')}".rstrip() for row in bad)


def microseconds(seconds: float | None) -> str:
    return number(seconds, 1 if seconds is not None and seconds < 1e-3 else 0, 1e6)


def fastest(row: Row, column: str) -> tuple[str, float] | None:
    """Of the others that are right: name and seconds."""
    others = {
        name: each[column]
        for name, each in row["rows"].items()
        if name != OURS and each["status"] == OK and each.get(column) is not None
    }
    return min(others.items(), key=lambda item: item[1], default=None)


def lead(row: Row, column: str) -> float | None:
    ours, other = row["rows"][OURS], fastest(row, column)
    if other is None or ours["status"] != OK or ours.get(column) is None:
        return None
    return other[1] / float(ours[column])


def _key(rows: Sequence[Row]) -> Iterator[str]:
    cells = []
    for row in rows:
        ours = row.get("rows", {}).get(OURS)
        if ours is None:
            continue
        cells.append([row["name"], *(microseconds(ours.get(each)) for each in COLUMNS)])
        cells[-1].append(microseconds(row.get("floor")))
        for column in ("call", "graph"):
            other = fastest(row, column)
            cells[-1].append("" if other is None else f"{microseconds(other[1])} ({other[0]})")
            cells[-1].append(speedup_text(lead(row, column)))
        note = "" if ours["status"] == OK else f"{ours['status']} {ours.get('note', '')}"
        cells[-1].append(note.rstrip())
    if cells:
        yield (
            "call: as it is called; graph: replayed from a CUDA graph; kernels: theirs alone, by "
            "torch's profiler. x: how many times as long the fastest other takes, in the same "
            "column: below 1 it is faster. floor: a copy of as many bytes, or a matrix product of "
            "as many operations, on this device."
        )
        yield ""
        head = ("case", *(f"fused: {each}" for each in COLUMNS), "floor", "fastest other: call",
                "x", "fastest other: graph", "x", "")  # fmt: skip
        yield table(head, cells)


def _others(rows: Sequence[Row]) -> list[str]:
    cells = [
        (
            row["name"],
            name,
            *(microseconds(each.get(column)) for column in ("call", "graph")),
            number(each.get("peak_bytes"), 1, 2**-30),
        )
        for row in rows
        if "rows" in row and OURS not in row["rows"]
        for name, each in row["rows"].items()
    ]
    return _shown(("case", "row", "call", "graph", "peak GiB"), cells)


def _kernels(rows: Sequence[Row]) -> list[str]:
    cells = [
        (row["name"], short_kernel(name), f"{each['launches']:g}", microseconds(each["seconds"]))
        for row in rows
        for name, each in row.get("rows", {}).get(OURS, {}).get("by_kernel", {}).items()
    ]
    return _shown(("case", "kernel", "launches", "us"), cells)


def _shown(head: Sequence[str], cells: Sequence[Sequence[object]]) -> list[str]:
    """The table of a section, which is left out where it is empty."""
    return [table(head, cells, 2)] if cells else []


def short_kernel(name: str) -> str:
    """Without types and arguments."""
    plain = name.replace("(anonymous namespace)::", "").removeprefix("void ")
    return plain.split("(")[0].split("<")[0]


def _network(rows: Sequence[Row]) -> Iterator[str]:
    if not rows:
        return
    cells = [
        (
            row["name"],
            *(number(row.get(each), 2, 1e3) for each in ("call", "graph", "backbone")),
            number(row.get("peak_bytes"), 2, 2**-30),
        )
        for row in rows
        if row["status"] == OK
    ]
    head = ("variant", "call, ms", "graph, ms", "backbone alone, ms", "peak GiB")
    yield table(head, cells)
    failed = [f"- {row['name']}: {row['status']}" for row in rows if row["status"] != OK]
    yield from ["", *failed] if failed else []


def _counters(rows: Sequence[Row]) -> list[str]:
    kernels = [each for row in rows for each in row.get("kernels", [])]
    head = list(dict.fromkeys(name for each in kernels for name in each))
    made = _shown(head, [[_plain(each.get(name)) for name in head] for each in kernels])
    refused = ", ".join(sorted({name for row in rows for name in row.get("refused", [])}))
    return [*made, "", f"Counters that it does not know: {refused}."] if made and refused else made


def _plain(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def _predicted(merged: Merged, predictions: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"Written down after the measurement at {predictions['made_at']}, before the next: "
        "microseconds at most."
    )
    yield ""
    rows, cells = _key_rows(merged), []
    for each in predictions["rows"]:
        found = rows.get(each["case"], {}).get("rows", {}).get(OURS, {}).get(each["column"])
        verdict = ""
        if not is_before(merged, predictions):
            verdict = "not measured"
            if found is not None:
                verdict = "met" if 1e6 * found <= each["at_most"] else MISSED
        limit = f"{each['at_most']:g}"
        cells.append((each["case"], each["column"], number(found, 1, 1e6), limit, verdict))
    yield table(("case", "column", f"at {merged['commit']}", "predicted", ""), cells, 2)


def readme(results: Mapping[str, Merged], predictions: Mapping[str, Any] | None) -> str:
    """The first rows of every family, on every GPU that was measured; losing ones included.
    ``results`` are by the link to their page."""
    lines: list[str] = []
    for link, merged in results.items():
        cells = [_readme_cells(*pair) for pair in _headlines(_key_rows(merged))]
        if not cells:
            continue
        head = ("microseconds", "fused: call / graph / kernels", "fastest other: call / graph", "x",
                "x, graph", "backward, fused: call / kernels", "fastest other", "x")  # fmt: skip
        lines += [measured_at(merged, predictions), "", table(head, cells), ""]
        lines += [
            "call: as it is called; graph: replayed from a CUDA graph; kernels: theirs alone. x: "
            "how many times as long the fastest other takes; below 1 it is faster than fused. "
            f"{_networks(merged)}[Everything that was measured, and what failed]({link}).",
            "",
        ]
    return "\n".join(lines).rstrip()


def speed(merged: Merged, predictions: Mapping[str, Any] | None) -> str:
    """One line: of every family and direction the leads over the fastest other, as called."""
    leads = bars.leads(
        (row["name"].split()[0], row["direction"], lead(row, "call"))
        for pair in _headlines(_key_rows(merged))
        for row in pair
        if row is not None
    )
    text = f"{merged['device']}, {merged['date'][:10]}, over the fastest other: {leads}."
    return text + _network_leads(merged) + _since(merged, predictions)


def _network_leads(merged: Merged) -> str:
    """Of the whole network, with either's faster layout."""
    fastest: dict[tuple[str, str], float] = {}
    size = ""
    for row in _rows(merged, "network"):
        if row.get("graph") is not None:
            size = " ".join(row["name"].split()[:2])
            kind = row["dtype"], row["ops"]
            fastest[kind] = min(row["graph"], fastest.get(kind, row["graph"]))
    leads = [
        f"{dtype} {bars.speedup_text(seconds / fastest[dtype, 'fused'])}"
        for (dtype, ops), seconds in fastest.items()
        if ops == "eager" and (dtype, "fused") in fastest
    ]
    if not leads:
        return ""
    return f" The whole network, {size}, under a CUDA graph: {', '.join(leads)}."


def _networks(merged: Merged) -> str:
    """One sentence; a CUDA graph's times, since a call's are the host's at this size."""
    found: dict[str, list[str]] = {}
    size = ""
    for row in _rows(merged, "network"):
        if row.get("graph") is not None:
            size = " ".join(row["name"].split()[:2])
            kind = f"{row['dtype']} {row['layout']}"
            found.setdefault(kind, []).append(f"{1e3 * row['graph']:.2f} with {row['ops']} ops")
    if not found:
        return ""
    texts = (f"{kind} {', '.join(each)}" for kind, each in found.items())
    return f"The whole network, {size}, fuse(), CUDA graph, ms: {'; '.join(texts)}. "


def _headlines(rows: Mapping[str, Row]) -> Iterator[tuple[Row, Row | None]]:
    for family in FAMILIES.values():
        for problem in family.problems()[: family.headline]:
            found = {each.direction: rows[each.name] for each in problem if each.name in rows}
            if "forward" in found:
                yield found["forward"], found.get("backward")


def _readme_cells(forward: Row, backward: Row | None) -> tuple[str, ...]:
    others = [fastest(forward, column) for column in ("call", "graph")]
    named = "" if others[0] is None or others[0][0] == BASELINE else f" ({others[0][0]})"
    cells = (
        forward["name"].replace(" forward", "").replace(" smooth", ""),
        _own(forward, COLUMNS),
        _slashed(other and other[1] for other in others) + named,
        *(speedup_text(lead(forward, column)) for column in ("call", "graph")),
    )
    if backward is None:
        return (*cells, "", "", "")
    other = fastest(backward, "call")
    return (
        *cells,
        _own(backward, ("call", "kernels")),
        microseconds(other and other[1]),
        speedup_text(lead(backward, "call")),
    )


def _own(row: Row, columns: Iterable[str]) -> str:
    ours = row["rows"][OURS]
    if ours["status"] != OK:
        return str(ours["status"])
    return _slashed(ours.get(column) for column in columns)


def _slashed(values: Iterable[float | None]) -> str:
    return " / ".join(microseconds(value) or "-" for value in values)
