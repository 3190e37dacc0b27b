"""What was measured, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..common.tables import number, table
from .measure import DNL, PARTS, SRM, Rates, Work
from .run import ALLOWED, Outcome
from .variants import OURS, PLAIN, VARIANTS

SCHEMA = 1
SMALLEST = 0.01  # share of an operator's row


def text(outcome: Outcome, rates: Rates) -> str:
    """Tables of one size; the rates are the machine's."""
    return "\n".join(_lines(outcome, rates))


def _lines(outcome: Outcome, rates: Rates) -> Iterator[str]:
    if outcome.wrong:
        for variant in outcome.wrong:
            error = outcome.errors[variant]
            yield f"WRONG: {variant.name} is off by {error:.1e} (allowed {ALLOWED:.0e})"
        yield "nothing was timed"
        return
    rows = []
    for variant in VARIANTS:
        best, median = outcome.best(variant), outcome.median(variant)
        cells = (
            number(best, 1, 1e3),
            number(median, 1, 1e3),
            number(outcome.best(PLAIN) / best, 2),
        )
        peak = number(outcome.peak_bytes[variant], 0, 1e-6)
        rows.append((variant.name, *cells, number(1 / best, 2), peak,
                     f"{outcome.errors[variant]:.1e}"))  # fmt: skip
    yield table(("", "best ms", "median", "x", "images/s", "peak MB", "error"), rows)
    for judgement, met in outcome.judgements:
        yield f"{OURS.name}: {judgement}: {'met' if met else 'MISSED'}"
    yield ""
    totals = {variant: sum(shares.values()) for variant, shares in outcome.parts.items()}
    yield table(
        ("", *(variant.name for variant in outcome.parts)),
        [
            (part, *(_share(shares[part], totals[v]) for v, shares in outcome.parts.items()))
            for part in PARTS
        ],
    )
    together = [
        f"{100 * (shares[SRM] + shares[DNL]) / totals[variant]:.1f} % with {variant.name}"
        for variant, shares in outcome.parts.items()
    ]
    yield f"{SRM} and {DNL}: " + ", ".join(together)
    yield ""
    yield (
        f"operators of {OURS.name} (a matrix product reaches {rates.product / 1e9:.0f} GFLOP/s, a "
        f"copy {rates.copy / 1e9:.1f} GB/s)"
    )
    total = sum(work.seconds for work in outcome.operators.values())
    ordered = sorted(outcome.operators.items(), key=lambda item: item[1], reverse=True)
    shown = [each for each in ordered if each[1].seconds >= SMALLEST * total]
    rest = [work for kind, work in ordered if kind not in dict(shown)]
    rows = [(kind, *_work(work, total)) for kind, work in shown]
    summed = Work(*(sum(column) for column in zip(*rest, strict=True))) if rest else Work(0, 0, 0)
    yield table(
        ("", "", "GFLOP/s", "floor ms", "x floor"), [*rows, ("other", *_work(summed, total))]
    )
    floor = sum(work.floor for work in outcome.operators.values())
    yield (
        f"{OURS.name}: {1e3 * outcome.best(OURS):.1f} ms, {outcome.best(OURS) / floor:.2f} times "
        f"the sum of its operators' floors, {1e3 * floor:.1f} ms"
    )


def _work(work: Work, total: float) -> tuple[str, str, str, str]:
    speed = number(work.operations / work.seconds if work.seconds else None, 0, 1e-9)
    over = number(work.seconds / work.floor if work.floor else None, 2)
    return _share(work.seconds, total), speed, number(work.floor, 1, 1e3), over


def _share(seconds: float, total: float) -> str:
    return f"{1e3 * seconds:.1f} ms {100 * seconds / total:5.1f} %"


def write_json(path: Path, facts: Mapping[str, object], outcomes: Sequence[Outcome]) -> None:
    content = {
        "schema": SCHEMA,
        "environment": dict(facts),
        "sizes": [_as_json(outcome) for outcome in outcomes],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def _as_json(outcome: Outcome) -> dict[str, object]:
    return {
        "size": outcome.size,
        "wrong": [variant.name for variant in outcome.wrong],
        "variants": [
            {
                "name": variant.name,
                "ops": variant.ops,
                "fuse": variant.fuse,
                "channels_last": variant.channels_last,
                "error": error,
                "seconds": outcome.seconds.get(variant),
                "peak_bytes": outcome.peak_bytes.get(variant),
                "parts": outcome.parts.get(variant),
            }
            for variant, error in outcome.errors.items()
        ],
        "operators": {kind: work._asdict() for kind, work in outcome.operators.items()},
    }
