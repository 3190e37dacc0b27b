"""Leaving out a drive each: the folds, their means by hand, the order of the runs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.common import pages
from benchmarks.common.checkout import ROOT
from experiments.camvid import command
from experiments.camvid.drives import EXPERIMENT, folds, report
from experiments.camvid.images import Images
from experiments.camvid.runs import Budget, Run, Runs
from scrn.data import CamVid

FILES = {
    "train": ("0001TP_1", "0001TP_2", "0006R0_1", "0016E5_1"),
    "val": ("0016E5_2", "0016E5_3"),
}


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "camvid"
    for split, stems in FILES.items():
        for place, stem in enumerate(stems):
            for folder, value, suffix in ((split, 200, "jpg"), (f"{split}annot", place, "png")):
                (made / folder).mkdir(parents=True, exist_ok=True)
                picture = Image.fromarray(np.full((4, 6), value, dtype=np.uint8))
                picture.save(made / folder / f"{stem}.{suffix}")
    return made


def test_every_image_is_left_out_once_with_its_labels(root, tmp_path):
    made = folds.leave_one_out(root, tmp_path / "folds")
    assert list(made) == ["0001TP", "0006R0", "0016E5"]
    stems = {stem for each in FILES.values() for stem in each}
    for drive, data in made.items():
        held = {"train": CamVid(data, "train"), "val": CamVid(data, "val")}
        found = {
            split: {image.stem for image, labels in dataset.pairs if image.stem == labels.stem}
            for split, dataset in held.items()
        }
        assert found["val"] == {stem for stem in stems if stem.startswith(drive)}
        assert found["train"] == stems - found["val"]
    # The labels are those of the split that the image comes from.
    for split, place in (("train", 3), ("val", 0)):
        labels = made["0016E5"] / "valannot" / f"{FILES[split][place]}.png"
        assert labels.resolve() == root / f"{split}annot" / labels.name
    assert folds.leave_one_out(root, tmp_path / "folds") == made


def test_images_of_one_drive_are_refused(root, tmp_path, capsys):
    for path in (*root.glob("*/0001TP*"), *root.glob("*/0006R0*")):
        path.unlink()
    arguments = ["--root", str(root), "--output", str(tmp_path / "out")]
    assert command.main(EXPERIMENT, "", arguments) == 2
    assert "--root: expected images of several drives, got those of ['0016E5']" in (
        capsys.readouterr().err
    )


def one_score(value):
    """Scores of one image of two classes whose mIoU is ``value``."""
    wrong = round(1000 * (1 - value) / (1 + value))
    confusion = np.array([[[1000 - wrong, wrong], [wrong, 1000 - wrong]]])
    return Images(confusion, np.full((1, 2), value), np.ones((1, 2), dtype=bool))


def test_means_are_of_seeds_that_have_every_drive(root, tmp_path):
    budget = Budget(seeds=(0, 1))
    wanted = folds.runs(folds.VARIANTS[:2], root, tmp_path, budget)
    assert [run.name for run in wanted[:4]] == [
        "plain-0001TP-0", "srm-0001TP-0", "plain-0006R0-0", "srm-0006R0-0"
    ]  # fmt: skip
    values = {
        "plain-0001TP-0": 0.5, "plain-0006R0-0": 0.6, "plain-0016E5-0": 0.7,
        "plain-0001TP-1": 0.4, "plain-0006R0-1": 0.5, "plain-0016E5-1": 0.6,
        "srm-0001TP-0": 0.6, "srm-0006R0-0": 0.7, "srm-0016E5-0": 0.9,
        "srm-0001TP-1": 0.9,
    }  # fmt: skip
    ended = {name: one_score(value) for name, value in values.items()}
    result = report.summarise(budget, wanted, ended)
    plain = result["variants"]["plain"]["miou"]
    assert plain["mean"]["mean"] == pytest.approx(0.55, abs=1e-3)
    assert plain["mean"]["deviation"] == pytest.approx(0.1 / 2**0.5, abs=1e-3)
    srm = result["variants"]["srm"]["miou"]
    assert srm["mean"]["by_seed"] == {0: pytest.approx(0.7333, abs=1e-3)}
    assert srm["over_plain"] == {0: pytest.approx(0.1333, abs=1e-3)}
    assert srm["drives"]["0001TP"]["mean"] == pytest.approx(0.75, abs=1e-3)
    text = re.sub(" *[|] *", "|", report.markdown(result))
    assert "|SRM|75.0" in text
    assert "|+13.3" in text
    assert "PPM" not in text


def test_colour_jitter_is_that_of_the_published_runs_unless_a_variant_has_its_own(root, tmp_path):
    budget = Budget(seeds=(0,))
    wanted = folds.runs(folds.VARIANTS, root, tmp_path / "out", budget)
    made = Runs(tmp_path / "out", budget, wanted)
    found = {
        run.variant.name: [
            each for each in made._fit(tmp_path, run) if each.startswith("--data.color_jitter=")
        ]
        for run in wanted
    }
    for name, others in (("plain", "0.3"), ("both", "0.3"), ("jitter", "0.6"), ("no-jitter", "0")):
        assert found[name] == [f"--data.color_jitter={others}"]


def test_the_page_shows_the_committed_scores():
    """Of the variants that have run on every drive."""
    kept = ROOT / "experiments/camvid/drives/scores"
    given = json.loads((kept / "budget.json").read_text())
    drives = ("0001TP", "0006R0", "0016E5")
    wanted = [
        Run(variant, Path(drive), seed, f"{variant.name}-{drive}-{seed}")
        for variant in folds.VARIANTS
        for seed in given["seeds"]
        for drive in drives
        if all((kept / f"{variant.name}-{each}-{seed}").is_dir() for each in drives)
    ]
    assert len(wanted) >= 9
    scores = {run.name: Images.load(kept / run.name / "images.npz") for run in wanted}
    assert {len(scores[f"plain-{drive}-0"].confusion) for drive in drives} == {62, 101, 305}
    text = report.markdown(report.summarise(Budget(**given), wanted, scores))
    page = (ROOT / "docs/camvid.md").read_text()
    assert pages.filled(page, "drives", text) == page
