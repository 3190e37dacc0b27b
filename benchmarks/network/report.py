"""What was measured, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..common.tables import number, table
from .measure import DNL, PARTS, SRM
from .run import ALLOWED, Outcome
from .variants import OURS, PLAIN, VARIANTS

SCHEMA = 1
SMALLEST = 0.01  # share of an operator's row


def text(outcome: Outcome, speed: float) -> str:
    """Tables of one size; ``speed``, in operations a second, is the machine's."""
    return "\n".join(_lines(outcome, speed))


def _lines(outcome: Outcome, speed: float) -> Iterator[str]:
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
    yield f"operators of {OURS.name} (a matrix product reaches {speed / 1e9:.0f} GFLOP/s)"
    total = sum(seconds for seconds, _ in outcome.operators.values())
    ordered = sorted(outcome.operators.items(), key=lambda item: item[1], reverse=True)
    shown = [each for each in ordered if each[1][0] >= SMALLEST * total]
    rest = total - sum(seconds for _, (seconds, _) in shown)
    rows = [
        (kind, _share(seconds, total), number(operations / seconds, 0, 1e-9))
        for kind, (seconds, operations) in shown
    ]
    yield table(("", "", "GFLOP/s"), [*rows, ("other", _share(rest, total), "")])


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
        "operators": {
            kind: {"seconds": seconds, "operations": operations}
            for kind, (seconds, operations) in outcome.operators.items()
        },
    }
