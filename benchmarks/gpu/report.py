"""What was measured on a GPU, for a person: the page beside the JSON, and the README's table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..bars import speedup_text
from ..cases import FAMILIES
from ..markdown import table
from ..ops import BASELINE, OURS
from .record import OK

Merged = dict[str, Any]
Row = dict[str, Any]
COLUMNS = ("call", "graph", "kernels")


def report(merged: Merged, predictions: dict[str, Any] | None) -> str:
    lines = [f"# {merged['device']}", "", measured_at(merged, predictions), ""]
    lines += table(("stage", "status", "seconds", "its share"), list(_stages(merged)), 2)
    for section in (_tests, _smoke, _key, _kernels, _network, _reductions, _counters, _sanitizer):
        made = list(section(merged))
        lines += ["", *made] if made else []
    if predictions is not None:
        lines += ["", *_predicted(merged, predictions)]
    return "\n".join(lines).rstrip() + "\n"


def measured_at(merged: Merged, predictions: Mapping[str, Any] | None) -> str:
    facts = merged["facts"]
    versions = ", ".join(
        f"{name} {value}"
        for name, value in (
            ("driver", facts.get("driver_version")),
            ("torch", facts.get("torch")),
            ("triton", facts.get("triton")),
            ("Python", merged["python"]),
        )
        if value
    )
    text = f"{merged['device']}, {versions}, {merged['date'][:10]}. Measured at {merged['commit']}."
    if predictions is not None and is_before(merged, predictions):
        text += f" {predictions['since']}"
    return text


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
        share = stage.get("share_seconds")
        seconds = stage["seconds"]
        yield (
            name, status, "" if seconds is None else f"{seconds:.0f}",
            "" if share is None else f"{share:.0f}",
        )  # fmt: skip


def _rows(merged: Merged, stage: str) -> list[Row]:
    return list(merged["stages"].get(stage, {}).get("rows", []))


def _tests(merged: Merged) -> Iterator[str]:
    rows = _rows(merged, "test")
    if rows:
        yield "## Tests marked `cuda`"
        yield ""
    for row in rows:
        cut = "" if row["status"] != "running" else " before the time was up"
        skipped = sum(row["skipped"].values())
        yield (
            f"- {row['name']}: {row['passed']} passed, {len(row['failed'])} failed, {skipped} "
            f"skipped{cut}."
        )
        yield from (f"  - failed: `{name}` {why}".rstrip() for name, why in row["failed"].items())
        yield from (f"  - skipped {n}: {why}" for why, n in row["skipped"].items())


def _smoke(merged: Merged) -> Iterator[str]:
    rows = _rows(merged, "smoke")
    if not rows:
        return
    bad = [row for row in rows if row["status"] != OK]
    yield "## Every op, way, type, layout and direction, against float64"
    yield ""
    yield f"{len(rows) - len(bad)} of {len(rows)} cases agree."
    yield from (f"- {row['status']}: {row['name']} {row.get('note', '')}".rstrip() for row in bad)


def microseconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{1e6 * seconds:.1f}" if seconds < 1e-3 else f"{1e6 * seconds:.0f}"


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


def _key(merged: Merged) -> Iterator[str]:
    rows = [row for row in _rows(merged, "key") if "rows" in row]
    ours = [row for row in rows if OURS in row["rows"]]
    if ours:
        yield "## Times in microseconds"
        yield ""
        yield (
            "call: as it is called; graph: replayed from a CUDA graph; kernels: theirs alone, by "
            "torch's profiler. x: how many times as long the fastest other takes, in the same "
            "column: below 1 it is faster. floor: a copy of as many bytes, or a matrix product of "
            "as many operations, on this device."
        )
        yield ""
        head = ("case", *(f"fused: {each}" for each in COLUMNS), "floor", "fastest other: call",
                "x", "fastest other: graph", "x", "")  # fmt: skip
        yield from table(head, [_key_cells(row) for row in ours])
    others = [row for row in rows if OURS not in row["rows"]]
    if others:
        yield ""
        yield "## What others' operators need, where there is no fused op yet, in microseconds"
        yield ""
        cells = [
            (
                row["name"],
                name,
                *(microseconds(each.get(column)) for column in ("call", "graph")),
                f"{each['peak_bytes'] / 2**30:.1f}" if "peak_bytes" in each else "",
            )
            for row in others
            for name, each in row["rows"].items()
        ]
        yield from table(("case", "row", "call", "graph", "peak GiB"), cells, 2)


def _key_cells(row: Row) -> tuple[str, ...]:
    ours = row["rows"][OURS]
    note = "" if ours["status"] == OK else f"{ours['status']} {ours.get('note', '')}".rstrip()
    cells = [row["name"], *(microseconds(ours.get(each)) for each in COLUMNS)]
    cells.append(microseconds(row.get("floor")))
    for column in ("call", "graph"):
        other = fastest(row, column)
        cells.append("" if other is None else f"{microseconds(other[1])} ({other[0]})")
        cells.append(speedup_text(lead(row, column)))
    return (*cells, note)


def _kernels(merged: Merged) -> Iterator[str]:
    rows = [row for row in _rows(merged, "key") if row.get("rows", {}).get(OURS, {}).get("kernels")]
    cells = [
        (row["name"], short_kernel(name), f"{each['launches']:g}", microseconds(each["seconds"]))
        for row in rows
        for name, each in row["rows"][OURS]["by_kernel"].items()
    ]
    if cells:
        yield "## Kernel by kernel"
        yield ""
        yield from table(("case", "kernel", "launches", "us"), cells, 2)


def short_kernel(name: str) -> str:
    """Without types and arguments."""
    plain = name.replace("(anonymous namespace)::", "").removeprefix("void ")
    return plain.split("(")[0].split("<")[0]


def _network(merged: Merged) -> Iterator[str]:
    rows = _rows(merged, "network")
    if not rows:
        return
    yield "## The whole network, fuse(), random weights"
    yield ""
    cells = [
        (
            row["name"],
            *(
                "" if row.get(each) is None else f"{1e3 * row[each]:.2f}"
                for each in ("call", "graph", "backbone")
            ),
            "" if row.get("peak_bytes") is None else f"{row['peak_bytes'] / 2**30:.2f}",
        )
        for row in rows
        if row["status"] == OK
    ]
    head = ("variant", "call, ms", "graph, ms", "backbone alone, ms", "peak GiB")
    yield from table(head, cells)
    yield from (f"- {row['name']}: {row['status']}" for row in rows if row["status"] != OK)


def _reductions(merged: Merged) -> Iterator[str]:
    for row in _rows(merged, "micro"):
        if "rows" in row:
            yield "## Reductions into global memory"
            yield ""
            cells = [
                (each["kind"], each["addresses"], f"{each['floats_per_second'] / 1e9:.1f}")
                for each in row["rows"]
            ]
            yield from table(("kind", "addresses", "10^9 floats/s"), cells, 2)


def _counters(merged: Merged) -> Iterator[str]:
    rows = [row for row in _rows(merged, "profile") if row.get("kernels")]
    if not rows:
        return
    yield "## Nsight Compute"
    yield ""
    kernels = [each for row in rows for each in row["kernels"]]
    head = list(dict.fromkeys(name for each in kernels for name in each))
    cells = [
        tuple("" if each.get(n) is None else _plain(each[n]) for n in head) for each in kernels
    ]
    yield from table(head, cells, 2)
    refused = sorted({name for row in rows for name in row.get("refused", [])})
    if refused:
        yield ""
        yield f"Counters that it does not know: {', '.join(refused)}."


def _plain(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _sanitizer(merged: Merged) -> Iterator[str]:
    rows = _rows(merged, "sanitize")
    if rows:
        yield "## compute-sanitizer"
        yield ""
        yield from (f"- {row['name']}: {row['status']}, {row['errors']} errors" for row in rows)


def predicted_and_measured(
    merged: Merged, predictions: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Any], float | None]]:
    """Each prediction with the microseconds that were measured, if they were."""
    rows = {row["name"]: row for row in _rows(merged, "key") if "rows" in row}
    for each in predictions["rows"]:
        row = rows.get(each["case"])
        seconds = None if row is None else row["rows"].get(OURS, {}).get(each["column"])
        yield each, None if seconds is None else 1e6 * seconds


def _predicted(merged: Merged, predictions: Mapping[str, Any]) -> Iterator[str]:
    before = is_before(merged, predictions)
    yield "## Predicted for the next visit" if before else "## Predicted, and measured"
    yield ""
    yield (
        f"Written down after the measurement at {predictions['made_at']}, before the next: "
        "microseconds at most."
    )
    yield ""
    cells = []
    for each, measured in predicted_and_measured(merged, predictions):
        verdict = ""
        if not before:
            verdict = "not measured"
            if measured is not None:
                verdict = "met" if measured <= each["at_most"] else "MISSED"
        found = "" if measured is None else f"{measured:.1f}"
        cells.append((each["case"], each["column"], found, f"{each['at_most']:g}", verdict))
    head = ("case", "column", f"at {merged['commit']}", "predicted", "")
    yield from table(head, cells, 2)


def readme(results: Mapping[str, Merged], predictions: Mapping[str, Any] | None) -> str:
    """The first rows of every family, on every GPU that was measured; losing ones included.
    ``results`` are by the link to their page."""
    lines: list[str] = []
    for link, merged in results.items():
        rows = {row["name"]: row for row in _rows(merged, "key") if "rows" in row}
        cells = [_readme_cells(*pair) for pair in _headlines(rows)]
        if not cells:
            continue
        head = ("microseconds", "fused: call / graph / kernels", "fastest other: call / graph", "x",
                "x, graph", "backward, fused: call / kernels", "fastest other", "x")  # fmt: skip
        lines += [measured_at(merged, predictions), "", *table(head, cells), ""]
        lines += [
            "call: as it is called; graph: replayed from a CUDA graph; kernels: theirs alone. x: "
            "how many times as long the fastest other takes; below 1 it is faster than fused. "
            f"{_networks(merged)}[Everything that was measured, and what failed]({link}).",
            "",
        ]
    return "\n".join(lines).rstrip()


def _networks(merged: Merged) -> str:
    """One sentence; a CUDA graph's times, since a call's are the host's at this size."""
    found: dict[str, list[str]] = {}
    size = ""
    for row in _rows(merged, "network"):
        if row.get("graph") is not None:
            size = " ".join(row["name"].split()[:2])
            kind = f"{row['dtype']} {row['layout']}".replace("_", r"\_")
            found.setdefault(kind, []).append(f"{1e3 * row['graph']:.2f} with {row['ops']} ops")
    if not found:
        return ""
    texts = (f"{kind} {', '.join(each)}" for kind, each in found.items())
    return f"The whole network, {size}, fuse(), CUDA graph, ms: {'; '.join(texts)}. "


def _headlines(rows: Mapping[str, Row]) -> Iterator[tuple[Row, Row | None]]:
    for family in FAMILIES.values():
        problems: dict[object, dict[str, Row]] = {}
        for case in family.key():
            found = problems.setdefault((case.data, case.layout), {})
            if case.name in rows:
                found[case.direction] = rows[case.name]
        for found in list(problems.values())[: family.headline]:
            if "forward" in found:
                yield found["forward"], found.get("backward")


def _readme_cells(forward: Row, backward: Row | None) -> tuple[str, ...]:
    ours = forward["rows"][OURS]
    others = [fastest(forward, column) for column in ("call", "graph")]
    name = forward["name"].replace(" forward", "").replace(" smooth", "").replace("_", r"\_")
    cells = [
        name,
        _own(ours, COLUMNS),
        _slashed(None if other is None else other[1] for other in others)
        + ("" if others[0] is None or others[0][0] == BASELINE else f" ({others[0][0]})"),
        speedup_text(lead(forward, "call")),
        speedup_text(lead(forward, "graph")),
    ]
    if backward is None:
        return (*cells, "", "", "")
    ours, other = backward["rows"][OURS], fastest(backward, "call")
    cells.append(_own(ours, ("call", "kernels")))
    cells.append("" if other is None else microseconds(other[1]))
    return (*cells, speedup_text(lead(backward, "call")))


def _own(ours: Mapping[str, Any], columns: Iterable[str]) -> str:
    if ours["status"] != OK:
        return str(ours["status"])
    return _slashed(ours.get(column) for column in columns)


def _slashed(values: Any) -> str:
    return " / ".join(microseconds(value) or "-" for value in values)
