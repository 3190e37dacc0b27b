"""The JSON of a run: everything that a report needs, and the way back from it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .bars import THREADS, Judgement
from .cases import AnyCase
from .cost import cost
from .ops import OPS
from .results import Results
from .runner import Row
from .timing import Timing

SCHEMA = 2


@dataclass
class Document:
    """``base`` is the same of another commit, timed on the same machine right after."""

    environment: dict[str, Any]
    results: Results
    bars: list[dict[str, Any]] = field(default_factory=list)
    base: Document | None = None


def write(path: Path, environment: dict[str, Any], results: Results, bars: Sequence[Judgement],
          base: Document | None = None) -> None:  # fmt: skip
    document = {
        "schema": SCHEMA,
        "environment": environment,
        "flops_per_second": [
            {"dtype": _dtype_name(dtype), "threads": threads, "rate": rate}
            for (dtype, threads), rate in results.flops_per_second.items()
        ],
        "rows": [_row(results, row) for row in results.rows],
        "bars": [_bar(each) for each in bars],
        "base": None
        if base is None
        else {
            "environment": base.environment,
            "rows": [_row(base.results, row) for row in base.results.rows],
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def load(path: Path) -> Document:
    """Raises:
    ValueError: the file was written by another version of this program.
    """
    try:
        return from_json(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def from_json(read: dict[str, Any]) -> Document:
    if read.get("schema") != SCHEMA:
        raise ValueError(f"expected schema {SCHEMA}, got {read.get('schema')}")
    base = None
    if read["base"] is not None:
        base = Document(read["base"]["environment"], Results(map(_row_of, read["base"]["rows"])))
    rates = {
        (getattr(torch, each["dtype"]), each["threads"]): each["rate"]
        for each in read["flops_per_second"]
    }
    return Document(
        read["environment"], Results(map(_row_of, read["rows"]), rates), read["bars"], base
    )


def _bar(each: Judgement) -> dict[str, Any]:
    return {
        **_case(each.case),
        "threads": THREADS,
        "over_layouts": list(each.bar.layouts),
        "required": each.bar.required,
        "moonshot": each.bar.moonshot,
        "aim_additions": each.bar.aim,
        "speedup": each.speedup,
        "additions": each.additions,
        "copies": each.copies,
        "verdict": each.verdict,
    }


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _case(case: AnyCase) -> dict[str, Any]:
    fields = {each.name: getattr(case, each.name) for each in dataclasses.fields(case)}
    return {**fields, "dtype": _dtype_name(case.dtype)}


def _row(results: Results, row: Row) -> dict[str, Any]:
    """The rates are those that the least bytes and operations of the case come to."""
    seconds = None if row.timing is None else row.timing.best
    least = cost(row.case)
    floor = results.floor_seconds(row.case, row.threads)
    known = seconds is not None
    return {
        **_case(row.case),
        "threads": row.threads,
        "implementation": row.implementation,
        "status": row.status,
        "note": row.note,
        "seconds": seconds,
        "seconds_minimum": row.timing.minimum if row.timing is not None else None,
        "seconds_median": row.timing.median if row.timing is not None else None,
        "runs": row.timing.runs if row.timing is not None else None,
        "errors": row.errors,
        "compile_seconds": row.compile_seconds,
        "peak_bytes": row.peak_bytes,
        "saved_bytes": row.saved_bytes,
        "least_bytes": least.bytes,
        "flops": least.flops,
        "gb_per_second": least.bytes / seconds / 1e9 if known else None,
        "tflop_per_second": least.flops / seconds / 1e12 if known else None,
        "floor_seconds": floor,
        "share_of_floor": floor / seconds if known and floor is not None else None,
    }


def _row_of(read: dict[str, Any]) -> Row:
    timing = None
    if read["seconds"] is not None:
        timing = Timing(
            read["seconds_minimum"], read["seconds_median"], read["seconds"], read["runs"]
        )
    return Row(
        case_of(read),
        read["threads"],
        read["implementation"],
        read["status"],
        read["note"],
        timing,
        read["errors"],
        read["compile_seconds"],
        read["peak_bytes"],
        read["saved_bytes"],
    )


def case_of(read: dict[str, Any]) -> AnyCase:
    kind: Any = OPS[read["op"]].case
    values = {each.name: read[each.name] for each in dataclasses.fields(kind)}
    values["dtype"] = getattr(torch, values["dtype"])
    for name in ("low", "size"):
        if name in values:
            values[name] = tuple(values[name])
    return kind(**values)
