"""What is compared, and the data sets that leave out a drive each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from scrn.data.files import list_images, with_any_suffix

from ..runs import Budget, Run, Variant, network

PLAIN = Variant("plain", "Plain pyramid (bilinear, F4)", network("bilinear", "f4"))
BEST = network("srm", "crm_shortcut")
VARIANTS = (
    PLAIN,
    Variant("srm", "SRM", network("srm", "f4")),
    Variant("crm", "CRM", network("bilinear", "crm")),
    Variant("both", "SRM and CRM", network("srm", "crm")),
    Variant("scaled", "SRM and CRM, scaled scores", network("srm", "crm_scaled")),
    Variant("shortcut", "SRM and CRM, scaled, with a shortcut", BEST),
    Variant("ppm", "Bilinear and PPM", network("bilinear", "ppm")),
    Variant("srm-ppm", "SRM and PPM", network("srm", "ppm")),
    Variant(
        "no-contrast", "With a shortcut, no contrastive loss", BEST | {"model.contrast_weight": 0}
    ),
    Variant("no-jitter", "With a shortcut, no colour jitter", BEST | {"data.color_jitter": 0}),
    Variant("jitter", "With a shortcut, colour jitter 0.6", BEST | {"data.color_jitter": 0.6}),
    Variant("decay", "With a shortcut, weight decay 0.05", BEST | {"model.weight_decay": 0.05}),
)
SPLITS = ("train", "val")


def drive_of(image: Path) -> str:
    """0016E5 of 0016E5_07959.jpg."""
    return image.stem.partition("_")[0]


def leave_one_out(root: Path, folder: Path) -> dict[str, Path]:
    """Data sets in SegNet's layout, of links to the files, by the drive that is their ``val``.

    Raises:
        ValueError: the images are of one drive.
    """
    images = [image for split in SPLITS for image in list_images(root / split)]
    drives = sorted({drive_of(image) for image in images})
    if len(drives) < 2:
        raise ValueError(f"--root: expected images of several drives, got those of {drives}")
    made = {}
    for left_out in drives:
        made[left_out] = folder / left_out
        for image in images:
            labels = with_any_suffix(
                image.parent.with_name(f"{image.parent.name}annot") / image.stem
            )
            split = "val" if drive_of(image) == left_out else "train"
            for kind, file in ((split, image), (f"{split}annot", labels)):
                if file is not None:
                    link(folder / left_out / kind / file.name, file)
    return made


def link(place: Path, file: Path) -> None:
    """Leaves what is right alone, as another command may be reading it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() and place.readlink() == file.resolve():
        return
    partial = place.with_name(f".{place.name}.{os.getpid()}")
    partial.symlink_to(file.resolve())
    partial.replace(place)


def runs(variants: Sequence[Variant], root: Path, output: Path, budget: Budget) -> list[Run]:
    """Seed by seed and drive by drive, so that what there is at any time can be compared."""
    folds = leave_one_out(root, output.resolve() / "folds")
    return [
        Run(variant, data, seed, f"{variant.name}-{drive}-{seed}")
        for seed in budget.seeds
        for drive, data in folds.items()
        for variant in variants
    ]
