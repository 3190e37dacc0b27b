"""What was measured, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

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
    yield f"{'':38}{'best ms':>9}{'median':>9}{'x':>7}{'images/s':>10}{'peak MB':>9}{'error':>9}"
    for variant in VARIANTS:
        best = outcome.best(variant)
        yield (
            f"{variant.name:38}{1e3 * best:>9.1f}{1e3 * outcome.median(variant):>9.1f}"
            f"{outcome.best(PLAIN) / best:>7.2f}{1 / best:>10.2f}"
            f"{outcome.peak_bytes[variant] / 1e6:>9.0f}{outcome.errors[variant]:>9.1e}"
        )
    for judgement, met in outcome.judgements:
        yield f"{OURS.name}: {judgement}: {'met' if met else 'MISSED'}"
    yield ""
    yield f"{'':12}" + "".join(f"{variant.name:>40}" for variant in outcome.parts)
    totals = {variant: sum(shares.values()) for variant, shares in outcome.parts.items()}
    for part in (part for part in PARTS if any(part in s for s in outcome.parts.values())):
        cells = ""
        for variant, shares in outcome.parts.items():
            seconds = shares.get(part, 0.0)
            cells += f"{1e3 * seconds:>29.1f} ms{100 * seconds / totals[variant]:>6.1f} %"
        yield f"{part:12}{cells}"
    together = [
        f"{100 * (shares[SRM] + shares[DNL]) / totals[variant]:.1f} % with {variant.name}"
        for variant, shares in outcome.parts.items()
    ]
    yield f"{SRM} and {DNL}: " + ", ".join(together)
    yield ""
    yield f"operators of {OURS.name} (a matrix product reaches {speed / 1e9:.0f} GFLOP/s)"
    total = sum(seconds for seconds, _ in outcome.operators.values())
    rest = 0.0
    for kind, (seconds, operations) in sorted(
        outcome.operators.items(), key=lambda item: item[1], reverse=True
    ):
        if seconds < SMALLEST * total:
            rest += seconds
            continue
        yield f"{kind:38}{_share(seconds, total)}{operations / seconds / 1e9:>10.0f} GFLOP/s"
    yield f"{'other':38}{_share(rest, total)}"


def _share(seconds: float, total: float) -> str:
    return f"{1e3 * seconds:>9.1f} ms{100 * seconds / total:>7.1f} %"


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
