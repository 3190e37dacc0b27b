"""What was measured, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ..common.tables import number, table
from .engines import EAGER_FUSED, OURS, OURS_KEPT, PLAIN
from .measure import DNL, PARTS, SRM, Rates, Work
from .run import CAMVID_SIZE, LARGE, MIDDLE, Row

SCHEMA = 1
SMALLEST = 0.01  # share of an operator's row
REQUIRED, AIM = 1.2, 1.5  # times faster than plain eager, at LARGE
TARGETS = {LARGE: 1.4, MIDDLE: 1.2, CAMVID_SIZE: 1.0}  # over the best of the other engines
Size = tuple[int, int]


def variants(rows: Sequence[Row], size: Size, rates: Rates) -> Iterator[str]:
    """The network's variants at one size, and where their time goes; the rates are the
    machine's."""
    wrong = [row.complaint for row in rows if not row.is_right]
    if wrong:
        yield from wrong
        yield "no times are shown, since a variant was wrong or has died"
        return
    found = {row.engine: row for row in rows}
    ours, plain = found[OURS], found[PLAIN]
    cells = [
        (row.engine.name, number(row.best, 1, 1e3), number(median(row.seconds), 1, 1e3),
         number(plain.best / row.best, 2), number(1 / row.best, 2),
         number(row.inference_bytes, 0, 1e-6), f"{row.error:.1e}")
        for row in rows
    ]  # fmt: skip
    yield table(("", "best ms", "median", "x", "images/s", "peak MB", "error"), cells)
    for judgement, met in judgements(found[PLAIN], found[EAGER_FUSED], ours, size):
        yield f"{OURS.name}: {judgement}: {'met' if met else 'MISSED'}"
    yield ""
    parted = [(row, row.parts, sum(row.parts.values())) for row in rows if row.parts]
    yield table(
        ("", *(row.engine.name for row, *_ in parted)),
        [(part, *(_share(parts[part], total) for _, parts, total in parted)) for part in PARTS],
    )
    together = [
        f"{100 * (parts[SRM] + parts[DNL]) / total:.1f} % with {row.engine.name}"
        for row, parts, total in parted
    ]
    yield f"{SRM} and {DNL}: " + ", ".join(together)
    yield ""
    yield from _operators(ours, rates)


def judgements(plain: Row, eager: Row, ours: Row, size: Size) -> list[tuple[str, bool]]:
    """The targets of our variant, and whether they were met."""
    over_eager, over_fused = plain.best / ours.best, eager.best / ours.best
    texts = [(f"x{over_fused:.2f} over {eager.engine.name} (target: more than 1)", over_fused > 1)]
    if size == LARGE:
        text = f"x{over_eager:.2f} over {plain.engine.name} (target: {REQUIRED}, stretch {AIM})"
        texts.append((text, over_eager >= REQUIRED))
    return texts


def _operators(ours: Row, rates: Rates) -> Iterator[str]:
    yield (
        f"operators of {OURS.name} (a matrix product reaches {rates.product / 1e9:.0f} GFLOP/s, a "
        f"copy {rates.copy / 1e9:.1f} GB/s)"
    )
    total = sum(work.seconds for work in ours.operators.values())
    ordered = sorted(ours.operators.items(), key=lambda item: item[1], reverse=True)
    shown = [each for each in ordered if each[1].seconds >= SMALLEST * total]
    rest = [work for kind, work in ordered if kind not in dict(shown)]
    rows = [(kind, *_work(work, total)) for kind, work in shown]
    summed = Work(*(sum(column) for column in zip(*rest, strict=True))) if rest else Work(0, 0, 0)
    yield table(
        ("", "", "GFLOP/s", "floor ms", "x floor"), [*rows, ("other", *_work(summed, total))]
    )
    floor = sum(work.floor for work in ours.operators.values())
    yield (
        f"{OURS.name}: {1e3 * ours.best:.1f} ms, {ours.best / floor:.2f} times "
        f"the sum of its operators' floors, {1e3 * floor:.1f} ms"
    )
    if ours.best < floor:
        yield "The machine was disturbed while a product and a copy were timed: no floor is right."


def _work(work: Work, total: float) -> tuple[str, str, str, str]:
    speed = number(work.operations / work.seconds if work.seconds else None, 0, 1e-9)
    over = number(work.seconds / work.floor if work.floor else None, 2)
    return _share(work.seconds, total), speed, number(work.floor, 1, 1e3), over


def _share(seconds: float, total: float) -> str:
    return f"{1e3 * seconds:.1f} ms {100 * seconds / total:5.1f} %"


def engines(rows: Sequence[Row], size: Size) -> Iterator[str]:
    """A table of every engine, what is faster than ours first, and the verdict."""
    yield from (row.complaint for row in rows if not row.is_right)
    ours = next((row for row in rows if row.engine == OURS_KEPT and row.is_right), None)
    if ours is None:
        yield f"{OURS_KEPT.name} was not timed, so nothing is compared"
        return
    timed = sorted((row for row in rows if row.is_right), key=lambda row: row.ratio(ours))
    cells = [
        (row.engine.name, number(row.ratio(ours), 2), number(median(row.seconds), 0, 1e3),
         number(row.best, 0, 1e3), number(min(row.cpu_seconds), 0, 1e3),
         number(row.peak_bytes, 0, 1e-6), f"{row.error:.1e}")
        for row in timed
    ]  # fmt: skip
    head = ("", "x ours", "median ms", "least ms", "least CPU ms", "process peak MB", "error")
    yield table(head, cells)
    others = [row for row in timed if not row.engine.is_ours and not row.engine.bfloat16]
    if others:
        best, target = others[0], TARGETS.get(size)
        line = f"{OURS_KEPT.name}: x{best.ratio(ours):.2f} over {best.engine.name}, the best other"
        if target is not None:
            met = "met" if best.ratio(ours) >= target else "MISSED"
            line += f" (target: {target}): {met}"
        yield line


def as_json(rows: Sequence[Row], size: Size) -> dict[str, Any]:
    """Of a variant of the network alone the peak is that of inference, not of the process."""
    return {
        "size": size,
        "wrong": [row.engine.name for row in rows if not row.is_right],
        "variants": [
            vars(row.engine)
            | {
                "name": row.engine.name,
                "error": None if row.error != row.error else row.error,
                "died": row.died,
                "seconds": row.seconds or None,
                "cpu_seconds": row.cpu_seconds or None,
                "process_bytes": row.peak_bytes or None,
                "peak_bytes": row.inference_bytes,
                "parts": row.parts,
            }
            for row in rows
        ],
        "operators": {k: work._asdict() for row in rows for k, work in row.operators.items()},
    }


def write_json(path: Path, facts: Mapping[str, object], sizes: Sequence[dict[str, Any]]) -> None:
    content = {"schema": SCHEMA, "environment": dict(facts), "sizes": sizes}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
