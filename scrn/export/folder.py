"""``--format folder``: a training checkpoint as a small folder for prediction."""

from __future__ import annotations

import argparse
from typing import Any

from ..card import CARD
from ..engine.inference import check_short_side
from ..engine.weights import PACKAGED, SavedModel, save_model
from .writing import check_free

TERMS = (
    "For research use: they were learned from ImageNet and from the images named here, whose own "
    "terms apply to them."
)
_README = """---
library_name: scrn
tags: [image-segmentation]
---
Weights of `{backbone}` with `{context}` and `{upsampler}`, trained on {data} for the classes
{classes} (step {steps} of the training{averaged}{start}). `scrn predict --model` and
`scrn.engine.weights.load_model` read this folder; `inference.json` holds the recipe.

{terms}
"""


def _start(about: dict[str, Any]) -> str:
    start = about.get("start")
    if start == PACKAGED:
        return (
            ", which began with the weights that come with scrn, learned from ImageNet and CamVid"
        )
    return f", which began with the weights of {start}" if start else ""


def add_arguments(options: Any) -> None:
    options.add_argument(
        "--short-side",
        type=int,
        metavar="N",
        help="pixels to which prediction brings a photo's short side (default: as in validation)",
    )
    options.add_argument(
        "--full-precision", action="store_true", help="fp32 instead of half precision"
    )


def run(args: argparse.Namespace, saved: SavedModel) -> None:
    check_short_side(args.short_side)
    check_free(args.output, CARD, "a model")
    if "recipe" not in saved.about:
        raise ValueError(
            f"model: expected a checkpoint of scrn fit, got {args.model}, a folder without the "
            "recipe of a training, which scrn predict reads as it is"
        )
    if args.short_side is not None:
        saved.short_side = args.short_side
    saved.about.setdefault("terms", TERMS)
    save_model(saved, args.output, half=not args.full_precision)
    about = saved.about
    averaged = ", averaged" * about["averaged"]
    recipe = {name: about["recipe"][name] for name in ("backbone", "context", "upsampler")}
    text = _README.format(
        classes=", ".join(saved.classes), data=about["data"], steps=about["steps"],
        averaged=averaged, start=_start(about), terms=about["terms"], **recipe,
    )  # fmt: skip
    (args.output / "README.md").write_text(text)
    size = sum(f.stat().st_size for f in args.output.iterdir())
    print(f"{args.output}: {size / 1e6:.1f} MB, weights of step {about['steps']}{averaged}")
