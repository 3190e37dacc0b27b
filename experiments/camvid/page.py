"""``python -m experiments.camvid.page``: from a run of the recipe camvid.yaml to the weights that
come with the package and to docs/camvid.md.

Exports the checkpoint to scrn/weights/camvid, evaluates what it exported by ``scrn validate``,
whose scores lie beside the weights from then on, and draws the pictures and fills in the figures
of the page.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image

from benchmarks.common import pages
from benchmarks.common.camvid import camvid_root
from benchmarks.common.checkout import ROOT
from benchmarks.common.tables import table
from scrn.cli import main as scrn
from scrn.data import CamVid
from scrn.engine.prediction import segment
from scrn.engine.report import colorize
from scrn.engine.weights import PACKAGED_FOLDER, load_model

PAGE = ROOT / "docs" / "camvid.md"
SECTION = "figures"
SHORT_SIDE = 360
SHOWN = (12, 48, 84)  # of the 101 validation images
WIDTH = 300


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.camvid.page", description=__doc__)
    parser.add_argument(
        "--run", type=Path, default=Path("outputs/camvid"), metavar="DIR", help="(%(default)s)"
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="PATH", help="default: the run's newest last.ckpt"
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="CamVid, in SegNet's layout")
    parser.add_argument("--weights", type=Path, default=PACKAGED_FOLDER, metavar="DIR")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="PATH")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    root = options.root or camvid_root()
    if root is None:
        print("--root: expected the folder of CamVid (or SCRN_CAMVID), got none", file=sys.stderr)
        return 2
    checkpoint = options.checkpoint or newest(options.run)
    log = read_log(options.run)
    folder = options.page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    export = ("--checkpoint", checkpoint, "--output", options.weights, "--short-side", SHORT_SIDE)
    if scrn(["export", *map(str, export)]):
        return 1
    evaluate(options.weights, root, folder)
    draw_curve(log, folder / "curve.png")
    draw_frames(options.weights, root, folder / "frames.jpg")
    about = json.loads((options.weights / "inference.json").read_text())["about"]
    scores = json.loads((options.weights / "scores.json").read_text())
    text = figures(scores, about, log, folder.name)
    options.page.write_text(pages.filled(options.page.read_text(), SECTION, text))
    print(
        f"mIoU {100 * scores['miou']:.2f} %, written: {options.page}, {folder}, {options.weights}"
    )
    return 0


def newest(run: Path) -> Path:
    found = sorted(run.rglob("last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"--run: expected a last.ckpt under {run}, found none")
    return found[-1]


def read_log(run: Path) -> dict[str, dict[int, float]]:
    """Values by name and step, of the CSV logs of a run and of its continuations."""
    log: dict[str, dict[int, float]] = {}
    for path in sorted(run.rglob("metrics.csv"), key=lambda path: path.stat().st_mtime):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    if value and name != "step":
                        log.setdefault(name, {})[int(row["step"])] = float(value)
    if "val/miou" not in log:
        raise ValueError(f"--run: expected logs with val/miou under {run}, found {sorted(log)}")
    return log


def evaluate(weights: Path, root: Path, pictures: Path) -> None:
    """``scrn validate`` on the exported weights; its scores go beside them."""
    with tempfile.TemporaryDirectory() as output:
        command = [
            *(sys.executable, "-m", "scrn.cli", "validate", "--config=camvid.yaml"),
            *(f"--data.root={root}", f"--model.weights={weights}", f"--model.output={output}"),
            *("--model.pretrained=null", "--trainer.logger=false", "--trainer.accelerator=cpu"),
            # Where it keeps its settings, which are not wanted here.
            f"--trainer.default_root_dir={output}",
        ]
        path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": path})
        (weights / "scores.json").write_text((Path(output) / "scores.json").read_text())
        (pictures / "iou.png").write_bytes((Path(output) / "iou.png").read_bytes())


def draw_curve(log: dict[str, dict[int, float]], path: Path) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (loss, score) = plt.subplots(1, 2, figsize=(9, 3.2))
    steps, values = (
        np.array(part) for part in zip(*log["train/cross_entropy"].items(), strict=True)
    )
    loss.plot(steps, values, linewidth=0.5, alpha=0.4)
    window = min(15, len(values))
    mean = np.convolve(values, np.full(window, 1 / window), "valid")
    loss.plot(steps[window - 1 :], mean, color="C0")
    loss.set(xlabel="step", ylabel="cross-entropy of a batch", ylim=(0, None))
    for name, label in (("val/miou", "mIoU"), ("val/boundary_f", "boundary F")):
        points = log[name]
        score.plot(points.keys(), [100 * v for v in points.values()], marker="o", label=label)
    score.set(xlabel="step", ylabel="validation, averaged weights (%)")
    score.legend(frameon=False, loc="lower right")
    for axes in (loss, score):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_frames(weights: Path, root: Path, path: Path) -> None:
    """Photo, ground truth and prediction of a few validation images, one below the other."""
    saved, data = load_model(weights), CamVid(root, "val")
    rows = []
    for index in SHOWN:
        image, labels = data.load(index % len(data))
        prediction = segment(saved, torch.as_tensor(image)).argmax(0)
        panels = (
            image.permute(1, 2, 0).numpy(),
            colorize(labels, data.colors),
            colorize(prediction, data.colors),
        )
        rows.append(np.concatenate([_small(panel) for panel in panels], axis=1))
    Image.fromarray(np.concatenate(rows)).save(path, quality=85)


def _small(panel: np.ndarray) -> np.ndarray:
    image = Image.fromarray(panel)
    size = (WIDTH, round(WIDTH * image.height / image.width))
    framed = np.full((size[1] + 4, size[0] + 4, 3), 255, np.uint8)
    framed[2:-2, 2:-2] = np.array(image.resize(size, Image.Resampling.LANCZOS))
    return framed


def figures(
    scores: dict[str, Any], about: dict[str, Any], log: dict[str, dict[int, float]], folder: str
) -> str:
    """The page's generated part."""
    names = list(scores["iou"])
    totals = (
        ("**mIoU**", f"**{100 * scores['miou']:.2f}**"),
        ("pixel accuracy", f"{100 * scores['pixel_accuracy']:.2f}"),
        ("boundary F-score, 3 px", f"{100 * scores['boundary_f']:.2f}"),
    )
    # The log may go on beyond the checkpoint.
    epochs = len({int(e) for step, e in log["epoch"].items() if step < about["steps"]})
    lines = [
        f"After {about['steps']} steps ({epochs} epochs), on the 101 validation images at 360x480, "
        "whole and at one scale, by the half-precision weights as packaged:",
        "",
        table(("", "%"), totals),
        "",
        table(names, [[_percent(scores["iou"][name]) for name in names]], 0),
        "",
        f"![Loss and validation scores by step]({folder}/curve.png)",
        "",
        f"![IoU of each class]({folder}/iou.png)",
        "",
        f"![Frames, ground truth, prediction]({folder}/frames.jpg)",
    ]
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
