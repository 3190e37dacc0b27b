"""``python -m examples.demo``: label maps of which every 8th pixel in x and y was kept, brought
back to full size by modules trained here, and a picture of it.

On CamVid (data/camvid in the checkout, or $SCRN_CAMVID) the exit status is 1 if the refined maps
are not better than bilinear ones in pixel accuracy and in boundary F-score. Without it, photos
that scikit-image ships are used, and nothing is judged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from . import data, picture
from .train import Outcome, run

STEPS = 300
AGREEMENT = 0.5  # points, between training through the fused and through the eager ops


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/demo.png"), metavar="PATH")
    parser.add_argument("--steps", type=int, default=STEPS, help="of training")
    parser.add_argument("--backend", choices=("fused", "eager", "reference"), default="fused")
    parser.add_argument(
        "--check-eager",
        action="store_true",
        help=f"train with eager ops, too; exit status 1 if they end {AGREEMENT} points apart",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    photos = data.load()
    print(
        f"{photos.source}: {len(photos.train)} photos to train on, {len(photos.unseen)} unseen; "
        f"{options.steps} steps, {options.backend} ops, {torch.get_num_threads()} threads"
    )
    model, outcome = run(photos, options.steps, options.backend, _progress)
    describe(options.backend, outcome)
    failed = photos.judged and not better(outcome)
    if not photos.judged:
        print("nothing is judged: the labels were made from the photos")
    elif failed:
        print("FAILED: refined is not better than bilinear in both")
    if options.check_eager:
        _, eager = run(photos, options.steps, "eager", _progress)
        describe("eager", eager)
        apart = difference(outcome, eager)
        print(f"{options.backend} and eager end {apart:.2f} points apart (at most {AGREEMENT})")
        failed |= apart > AGREEMENT
    image = picture.draw(model, photos, outcome)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    image.save(options.out, optimize=True)
    print(f"picture: {options.out}")
    return int(failed)


def better(outcome: Outcome) -> bool:
    plain, refined = outcome.bilinear, outcome.refined
    return refined.pixel_accuracy > plain.pixel_accuracy and refined.boundary_f > plain.boundary_f


def difference(first: Outcome, second: Outcome) -> float:
    """In points of a hundred: the larger of the differences in accuracy and boundary F-score."""
    one, two = first.refined, second.refined
    return 100 * max(
        abs(one.pixel_accuracy - two.pixel_accuracy), abs(one.boundary_f - two.boundary_f)
    )


def describe(backend: str, outcome: Outcome) -> None:
    plain, refined = outcome.bilinear, outcome.refined
    print(f"trained in {outcome.seconds:.0f} s through {backend} ops")
    print(f"{'':<17}{'bilinear':>9}{'refined':>9}")
    print(
        f"pixel accuracy   {100 * plain.pixel_accuracy:8.2f}%{100 * refined.pixel_accuracy:8.2f}%"
    )
    print(f"boundary F, 1 px {plain.boundary_f:9.4f}{refined.boundary_f:9.4f}", flush=True)


def _progress(step: int, loss: float) -> None:
    if step % 50 == 0:
        print(f"  step {step}: loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
