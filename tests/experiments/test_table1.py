"""The comparison in small: its statistics by hand, its resuming, its refusals."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks.common import pages
from experiments.camvid import command, runs, statistics
from experiments.camvid.images import Images
from experiments.camvid.runs import Budget, Run, Runs
from experiments.camvid.table1 import EXPERIMENT, report, variants
from experiments.camvid.table1.variants import BASELINE, BOTH, VARIANTS
from scrn.metrics import SegmentationScores

CLASSES = 4


def of_table(folder, budget):
    return Runs(folder, budget, variants.runs(VARIANTS, folder, folder, budget))


def main(arguments):
    return command.main(EXPERIMENT, "", arguments)


def images(seed, count=9, right=0.7):
    """Scores of random maps, one class of which is in some of them only; and all in one metric."""
    generator = torch.Generator().manual_seed(seed)
    whole, rows = SegmentationScores(CLASSES), []
    for i in range(count):
        labels = torch.randint(0, CLASSES - (i % 2), (1, 12, 15), generator=generator)
        wrong = torch.rand(labels.shape, generator=generator) > right
        guess = torch.where(wrong, (labels + 1) % (CLASSES - (i % 2)), labels)
        one = SegmentationScores(CLASSES)
        for scores in (one, whole):
            scores.update(guess, labels)
        rows.append((one.compute().confusion, one.boundary_sum, one.boundary_count > 0))
    return Images(*(torch.stack(column).numpy() for column in zip(*rows, strict=True))), whole


def test_scores_of_a_sample_are_those_of_its_images():
    found, whole = images(0)
    ones = np.ones((1, 9))
    assert found.miou(ones)[0] == pytest.approx(whole.compute().miou, abs=1e-12)
    assert found.boundary_f(ones)[0] == pytest.approx(whole.compute().boundary_f, abs=1e-6)
    # Twice the third, and the last: only even images hold every class.
    chosen = np.array([[0, 0, 2, 0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0, 0, 0]])
    matrix = 2 * found.confusion[2] + found.confusion[8]
    iou = np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))
    assert found.miou(chosen)[0] == pytest.approx(iou.mean(), abs=1e-12)
    boundary = (2 * found.boundary[2] + found.boundary[8]) / 3
    assert found.boundary_f(chosen)[0] == pytest.approx(boundary.mean(), abs=1e-12)
    assert found.boundary_f(chosen)[1] == pytest.approx(found.boundary[1][:3].mean(), abs=1e-12)


def test_bootstrap_is_paired():
    """Equal runs differ by nothing however the images are drawn; two seeds are averaged before."""
    one, _ = images(1)
    other, _ = images(2, right=0.5)
    same = statistics.bootstrap(Images.miou, [(one, one)])
    assert (same["mean"], same["low"], same["high"], same["share_above_zero"]) == (0, 0, 0, 0)
    entry = statistics.bootstrap(Images.miou, [(one, other), (other, one)])
    assert entry["mean"] == pytest.approx(0, abs=1e-12)
    assert entry["each"][0] == pytest.approx(-entry["each"][1])
    assert entry["high"] - entry["low"] < 1e-12


def test_bootstrap_interval_equals_resampling_by_hand():
    one, _ = images(1)
    other, _ = images(2, right=0.6)
    entry = statistics.bootstrap(Images.boundary_f, [(one, other)])
    rng = np.random.default_rng(5)
    drawn = []
    for _ in range(2000):
        weights = np.bincount(rng.integers(0, 9, 9), minlength=9)[None]
        drawn.append(one.boundary_f(weights)[0] - other.boundary_f(weights)[0])
    width = entry["high"] - entry["low"]
    assert entry["low"] == pytest.approx(np.quantile(drawn, 0.025), abs=0.1 * width)
    assert entry["high"] == pytest.approx(np.quantile(drawn, 0.975), abs=0.1 * width)
    assert entry["low"] < entry["mean"] < entry["high"]
    assert entry["share_above_zero"] == pytest.approx(np.mean(np.array(drawn) > 0), abs=0.05)


def test_report_compares_seeds_that_both_have(monkeypatch, tmp_path):
    monkeypatch.setattr(statistics, "RESAMPLES", 50)
    one, other = images(1)[0], images(2)[0]
    scores = {"baseline-0": one, "baseline-1": one, "srm-1": other}
    wanted = variants.runs(VARIANTS, tmp_path, tmp_path, Budget(seeds=(0, 1)))
    result = report.summarise(Budget(seeds=(0, 1)), wanted, scores)
    assert [(d["of"], d["over"], d["seeds"]) for d in result["differences"]] == [
        ("srm", "baseline", [1])
    ]
    assert result["variants"]["baseline"]["miou"]["deviation"] == 0
    assert result["variants"]["srm"]["miou"]["deviation"] is None
    text = re.sub(" *[|] *", " | ", report.markdown(json.loads(json.dumps(result))))
    assert "10 epochs a run, crops 256x320, seeds 0, 1" in text
    assert " | Baseline + CRM | 0 |  |  | " in text
    assert f"| Baseline + SRM | 1 | {100 * other.miou(np.ones((1, 9)))[0]:.2f} |" in text


def test_a_folder_keeps_to_one_budget(tmp_path):
    of_table(tmp_path, Budget(epochs=2))
    of_table(tmp_path, Budget(epochs=2, seeds=(0, 1, 2)))
    with pytest.raises(ValueError, match=r"--output: expected runs of .*'epochs': 3"):
        of_table(tmp_path, Budget(epochs=3))
    assert main(["--output", str(tmp_path), "--root", ".", "--epochs", "4"]) == 2
    with pytest.raises(ValueError, match="--seeds"):
        Budget(seeds=(1, 1))


def test_runs_go_on_from_their_checkpoint_and_are_the_same_but_for_the_variant(tmp_path):
    made = of_table(tmp_path, Budget())
    folder = tmp_path / "both-1"
    folder.mkdir()
    both, baseline = (Run(variant, tmp_path, 1, "") for variant in (BOTH, BASELINE))
    begin = made._fit(folder, both)
    assert not any("ckpt_path" in option for option in begin)
    (folder / runs.CHECKPOINT).touch()
    assert set(made._fit(folder, both)) - set(begin) == {f"--ckpt_path={folder / 'last.ckpt'}"}
    differing = set(begin) ^ set(made._fit(tmp_path, baseline))
    kinds = {option.split("=")[0] for option in differing}
    # The last two hold the folder.
    assert kinds == {
        "--model.upsampler", "--model.context", "--trainer.callbacks", "--trainer.logger"
    }  # fmt: skip


def test_a_run_belongs_to_one_process(tmp_path, monkeypatch):
    made = of_table(tmp_path, Budget(seeds=(0,)))
    (tmp_path / "srm-0").mkdir()
    called, said = [], []
    monkeypatch.setattr(made, "_call", lambda folder, *_: not called.append(folder.name))
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(1, flush=True)"
    code += "; input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "srm-0/lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        other.stdout.readline()
        assert made.train(2, said.append) == []
    finally:
        other.communicate(b"\n")
    assert "srm-0: another process is at it" in said
    assert sorted(called) == sorted(2 * ["baseline-0", "crm-0", "both-0"])


@pytest.mark.parametrize("ended", [2, 1])
def test_the_whole_table_is_written_into_a_page(tmp_path, monkeypatch, capsys, ended):
    monkeypatch.setattr(statistics, "RESAMPLES", 50)
    found = {f"{each.name}-{seed}": images(seed)[0] for each in VARIANTS for seed in range(2)}
    if ended == 1:
        del found[f"{BOTH.name}-1"]
    monkeypatch.setattr(Runs, "scores", lambda self: found)
    page = tmp_path / "page.md"
    blank = "before".join(["", *pages.marks(EXPERIMENT.name)])
    page.write_text(blank)
    arguments = ["--report", "--root", str(tmp_path), "--output", str(tmp_path / "runs")]
    status = main([*arguments, "--page", str(page)])
    if ended == 2:
        assert status == 0
        assert re.search(r"\| Ours \(SRM and CRM\) +\| +2 \|", page.read_text())
        assert page.read_text().startswith("before")
    else:
        assert status == 1
        assert page.read_text() == blank
        assert f"{page}: not written" in capsys.readouterr().err


def test_a_page_without_marks_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Runs, "train", lambda *_: pytest.fail("trained"))
    page = tmp_path / "page.md"
    arguments = ["--root", str(tmp_path), "--output", str(tmp_path / "runs"), "--page", str(page)]
    for text in (None, "", "".join(reversed(pages.marks(EXPERIMENT.name)))):
        if text is not None:
            page.write_text(text)
        assert main(arguments) == 2
    assert "in the page, got it behind" in capsys.readouterr().err


def test_a_failed_run_is_named(tmp_path, monkeypatch):
    made = of_table(tmp_path, Budget(seeds=(0,)))
    monkeypatch.setattr(made, "_call", lambda folder, *_: folder.name != "crm-0")
    assert made.train(1, print) == ["crm-0"]
