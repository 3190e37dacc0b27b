"""The command from end to end on a tiny generated set: fit, kill, resume, validate, predict."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scrn.engine.checkpoint import AtomicCheckpointIO

ROOT = Path(__file__).resolve().parents[2]

RECIPE = """
seed_everything: 0
model:
  backbone: timm:tf_efficientnet_lite0
  num_classes: 11
  ops: eager
  optimizer: adamw
  lr: 1.0e-3
data:
  name: camvid
  root: {root}/set
  batch_size: 4
  crop: [64, 64]
  scale: [0.8, 1.25]
  workers: 0
trainer:
  accelerator: cpu
  max_epochs: 2
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  num_sanity_val_steps: 0
  callbacks:
    - class_path: lightning.pytorch.callbacks.EMAWeightAveraging
      init_args:
        decay: 0.9
    - class_path: scrn.engine.checkpoint.LastCheckpoint
      init_args:
        dirpath: {root}/{run}
        every_n_train_steps: {every}
"""


def scrn(*args, expect=0):
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "scrn.cli", *map(str, args)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


def recipe(root, run, every=4):
    path = root / f"{run}.yaml"
    path.write_text(RECIPE.format(root=root, run=run, every=every))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny CamVid, and a run on it that nothing interrupted."""
    root = tmp_path_factory.mktemp("fit")
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 2)):
        for i in range(count):
            labels = np.kron(rng.integers(0, 12, (8, 8)), np.ones((8, 8), int)).astype(np.uint8)
            image = (labels[..., None] * 20 + rng.integers(0, 20, (64, 64, 3))).astype(np.uint8)
            for folder, content in ((split, image), (f"{split}annot", labels)):
                (root / "set" / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(root / "set" / folder / f"{i:03}.png")
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
        "--trainer.default_root_dir", trained,
    )  # fmt: skip
    scores = json.loads((out / "scores.json").read_text())
    assert 0 <= scores["miou"] <= 1
    assert len(scores["iou"]) == 11
    assert scores["inference"]["flip"] is True
    assert (out / "iou.png").is_file()
    assert Image.open(out / "pictures/000.png").width > 3 * 64
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
    assert Image.open(out / "overlays/001.png").size == (64, 64)


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
