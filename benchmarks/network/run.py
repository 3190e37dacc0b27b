"""One size of image: the gate, then times, memory, parts and operators."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from scrn import SCRN
from scrn.models import with_ops

from ..common.timing import in_turns
from . import measure, memory
from .variants import EAGER_FUSED, OURS, PLAIN, VARIANTS, Variant, calibrated

ALLOWED = 1e-4  # relative L2 error of the logits
REQUIRED, AIM = 1.2, 1.5  # times faster than plain eager, at LARGE
LARGE = (1024, 2048)


@dataclass
class Outcome:
    """``seconds`` of every round, and ``peak_bytes``, by variant. ``parts`` are seconds by part
    of the plain network and of ours, ``operators`` the work by kind of ours."""

    size: tuple[int, int]
    errors: dict[Variant, float] = field(default_factory=dict)
    seconds: dict[Variant, list[float]] = field(default_factory=dict)
    peak_bytes: dict[Variant, int] = field(default_factory=dict)
    parts: dict[Variant, dict[str, float]] = field(default_factory=dict)
    operators: dict[str, measure.Work] = field(default_factory=dict)

    @property
    def wrong(self) -> list[Variant]:
        """Written so that an error that is NaN counts as wrong."""
        return [variant for variant, error in self.errors.items() if not error <= ALLOWED]

    def best(self, variant: Variant) -> float:
        return min(self.seconds[variant])

    def median(self, variant: Variant) -> float:
        return statistics.median(self.seconds[variant])

    @property
    def judgements(self) -> list[tuple[str, bool]]:
        """The last variant's targets, and whether they were met."""
        own = self.best(OURS)
        over_eager = self.best(PLAIN) / own
        over_fused = self.best(EAGER_FUSED) / own
        texts = [
            (f"x{over_fused:.2f} over {EAGER_FUSED.name} (target: more than 1)", over_fused > 1)
        ]
        if self.size == LARGE:
            text = f"x{over_eager:.2f} over {PLAIN.name} (target: {REQUIRED}, stretch {AIM})"
            texts.append((text, over_eager >= REQUIRED))
        return texts


def run(
    backbone: str,
    image: Tensor,
    rates: measure.Rates,
    *,
    num_classes: int = 19,
    rounds: int = 3,
    seconds: float = 20.0,
    report: Callable[[str], None] = print,
) -> Outcome:
    """Measures every variant on the image [1, 3, H, W], on its device; nothing but the errors
    where a result is wrong. The times are of at least ``rounds`` calls, and as many more as fit
    into ``seconds`` for all variants together."""
    size, device = (image.shape[2], image.shape[3]), image.device.type
    outcome = Outcome(size)
    report("building the model, its norms and offsets set by the image")
    original = calibrated(backbone, num_classes, image.cpu()).to(image.device)
    models = {variant: variant.model(original) for variant in VARIANTS}
    images = {variant: variant.image(image) for variant in VARIANTS}
    report("comparing with the definition in float64")
    outcome.errors = errors(original, models, image)
    if outcome.wrong:
        return outcome

    report(f"timing {len(VARIANTS)} variants in turns")
    _time(outcome, models, images, rates, rounds, seconds)
    models.clear()
    report("memory, in a process for each variant")
    for variant in VARIANTS:
        outcome.peak_bytes[variant] = memory.peak_bytes(
            variant, backbone, num_classes, size, device
        )
    return outcome


@torch.no_grad()
def _time(
    outcome: Outcome,
    models: dict[Variant, SCRN],
    images: dict[Variant, Tensor],
    rates: measure.Rates,
    rounds: int,
    seconds: float,
) -> None:
    calls = {variant.name: partial(model, images[variant]) for variant, model in models.items()}
    times = in_turns(calls, images[OURS].device.type, rounds, seconds)
    outcome.seconds = {variant: times[variant.name] for variant in VARIANTS}
    runs = max(2, len(times[OURS.name]) // 3)
    for variant in (PLAIN, OURS):
        outcome.parts[variant] = measure.inference_by_part(models[variant], images[variant], runs)
    outcome.operators = measure.inference_by_operator(models[OURS], images[OURS], runs, rates)


@torch.no_grad()
def errors(original: SCRN, models: Mapping[Variant, SCRN], image: Tensor) -> dict[Variant, float]:
    """Relative L2 errors of the logits, from the model with the ops' definition in float64."""
    expected = with_ops(original, "reference").double().eval()(image.double())
    found = {}
    for variant, model in models.items():
        logits = model(variant.image(image))
        found[variant] = ((logits - expected).norm() / expected.norm()).item()
    return found
