"""The command from end to end on a tiny generated set: fit, kill, resume, validate, predict."""

import json
import os
import signal
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from scrn.engine.checkpoint import AtomicCheckpointIO

from .command import recipe, scrn, tiny_camvid


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny CamVid, and a run on it that nothing interrupted."""
    root = tmp_path_factory.mktemp("fit")
    tiny_camvid(root)
    scrn("fit", "--config", recipe(root, "whole"), "--trainer.default_root_dir", root)
    return root


def weights(path):
    content = torch.load(path, map_location="cpu", weights_only=True)
    return content["state_dict"], content["global_step"]


# An epoch has 3 steps: the checkpoint is of the middle of an epoch, or of its last batch, whose
# epoch then still has to end.
@pytest.mark.slow
@pytest.mark.parametrize(("every", "kill", "kept"), [(2, 5, 4), (3, 4, 3)])
def test_killed_and_resumed_equals_never_stopped(trained, every, kill, kept):
    run = f"killed{kill}"
    common = ("fit", "--config", recipe(trained, run, every), "--trainer.default_root_dir", trained)
    killer = (
        "--trainer.callbacks+=tests.training.callbacks.KillAt",
        f"--trainer.callbacks.step={kill}",
    )
    checkpoint = trained / run / "last.ckpt"
    scrn(*common, *killer, expect=-signal.SIGKILL)
    state, step = weights(checkpoint)
    assert step == kept
    scrn(*common, "--ckpt_path", checkpoint)
    # Its last checkpoint before the end was that of step 4.
    whole, whole_step = weights(trained / "whole/last.ckpt")
    resumed, resumed_step = weights(checkpoint)
    assert whole_step == resumed_step == 6
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    assert any(not torch.equal(state[name], value) for name, value in whole.items())


@pytest.mark.slow
def test_validate_and_predict_from_a_checkpoint(trained):
    checkpoint = trained / "whole/last.ckpt"
    out = trained / "report"
    scrn(
        "validate", "--config", trained / "whole.yaml", "--ckpt_path", checkpoint,
        "--model.output", out, "--model.visualize", "1", "--model.flip", "true",
        "--trainer.default_root_dir", trained, "--model.baseline", checkpoint,
    )  # fmt: skip
    scores = json.loads((out / "scores.json").read_text())
    assert 0 <= scores["miou"] <= 1
    assert len(scores["iou"]) == 11
    assert scores["inference"]["flip"] is True
    assert json.loads((out / "baseline.json").read_text()) == scores
    assert (out / "iou.png").is_file()
    assert Image.open(out / "pictures/000.png").width > 4 * 64
    assert (out / "pictures/000_features.png").is_file()

    photos = trained / "set/val"
    scrn(
        "predict", photos, "--output", out, "--model", checkpoint, "--device", "cpu",
        "--probabilities",
    )  # fmt: skip
    labels = np.array(Image.open(out / "labels/000.png"))
    shares = np.load(out / "probabilities/000.npy")
    assert labels.shape == (64, 64)
    assert shares.shape == (11, 64, 64)
    assert (shares.argmax(0) == labels).mean() > 0.95
    width, height = Image.open(out / "overlays/001.png").size
    assert (width, height > 64) == (64, True)  # with the legend below


def test_commands_that_cannot_work(tmp_path):
    from scrn.cli import main

    assert main([]) == 2
    assert main(["--help"]) == 0
    assert main(["segment"]) == 2
    none, out = str(tmp_path / "none"), str(tmp_path)
    assert main(["predict", f"{none}.jpg", "--model", none, "--output", out]) == 1
    assert main(["export", "--checkpoint", none, "--output", out]) == 1


def test_training_on_a_missing_folder_says_so_in_one_line(tmp_path, monkeypatch, capsys):
    from scrn.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scrn"])
    small = ("--model.pretrained=null", "--trainer.logger=false", "--trainer.accelerator=cpu")
    assert main(["fit", "--config", "camvid.yaml", "--data.root", "nowhere", *small]) == 1
    message = "scrn fit: nowhere: expected the folder of camvid, found no such folder"
    assert message in capsys.readouterr().err


def test_a_kill_while_writing_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    target = tmp_path / "last.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"step": 1}, target)
    child = os.fork()
    if child == 0:
        # Dies when the file is written but not yet in its place.
        monkeypatch.setattr(os, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        writer.save_checkpoint({"step": 2}, target)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert torch.load(target, weights_only=True) == {"step": 1}
    writer.save_checkpoint({"step": 3}, target)
    assert torch.load(target, weights_only=True) == {"step": 3}
