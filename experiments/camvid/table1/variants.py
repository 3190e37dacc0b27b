"""What Table I compares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..runs import Budget, Run, Variant, network

BASELINE = Variant("baseline", "Baseline (bilinear, F4)", network("bilinear", "f4"))
SRM = Variant("srm", "Baseline + SRM", network("srm", "f4"))
CRM = Variant("crm", "Baseline + CRM", network("bilinear", "crm"))
BOTH = Variant("both", "Ours (SRM and CRM)", network("srm", "crm"))
VARIANTS = (BASELINE, SRM, CRM, BOTH)


def runs(variants: Sequence[Variant], root: Path, _output: Path, budget: Budget) -> list[Run]:
    """Seed by seed, so that what there is at any time can be compared."""
    return [
        Run(variant, root, seed, f"{variant.name}-{seed}")
        for seed in budget.seeds
        for variant in variants
    ]
