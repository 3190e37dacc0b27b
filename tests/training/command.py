"""The command in a process of its own, on a tiny generated data set."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

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


def scrn(*args, expect=0, processes=1):
    """The command's output; by torchrun where it is to run in several processes."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", *(launcher if processes > 1 else [])),
            *("scrn.cli", *map(str, args)),
        ],
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


def tiny_camvid(root):
    """12 training and 2 validation images of 64x64 under ``root / "set"``; every third is void but
    for its last quarter."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 2)):
        for i in range(count):
            labels = np.kron(rng.integers(0, 12, (8, 8)), np.ones((8, 8), int)).astype(np.uint8)
            if i % 3 == 0:
                labels[:48] = 11
            image = (labels[..., None] * 20 + rng.integers(0, 20, (64, 64, 3))).astype(np.uint8)
            for folder, content in ((split, image), (f"{split}annot", labels)):
                (root / "set" / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(root / "set" / folder / f"{i:03}.png")
