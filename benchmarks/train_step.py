"""``python -m benchmarks.train_step``: a training step of the CamVid recipe on the CPU, with fused,
eager and reference ops: seconds and peak memory.

A backend whose loss or gradients differ from the reference's stops the run before anything is
timed, and the exit status is 1. A step is forward, loss, backward and optimiser; neither loading
images nor averaging weights is in it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from scrn.data.module import SegmentationData
from scrn.engine.task import Segmentation, parameter_groups
from scrn.losses import cross_entropy
from scrn.models import with_ops
from scrn_ops._core.allocator import keep_freed_memory

from .common import environment, memory
from .common.camvid import camvid_root
from .common.checkout import ROOT
from .common.tables import number, table
from .common.timing import in_turns
from .network.weights import displace

RECIPE = ROOT / "scrn/configs/camvid.yaml"
OPS = ("fused", "eager", "reference")
ALLOWED_LOSS, ALLOWED_GRADIENT = 1e-5, 1e-3  # relative; in float32, over the whole network


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="steps of each that are timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), metavar="N")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write everything there")
    parser.add_argument("memory", nargs="?", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    ops, threads = options.memory or (None, options.threads)
    torch.set_num_threads(threads)
    keep_freed_memory()  # as training does
    recipe = yaml.safe_load(RECIPE.read_text())
    if ops is not None:
        print(peak_bytes(recipe, ops))
        return 0
    source, image, labels = batch(recipe)
    facts = environment.describe("cpu") | {"threads": threads, "images": source}
    print(environment.headline(facts))
    print(f"{tuple(image.shape)} {source}, {threads} threads")
    task = make_task(recipe)
    displace(task.model, image)
    tasks = {ops: with_ops(task, ops) for ops in OPS}
    errors = {ops: deviation(tasks[ops], tasks["reference"], image, labels) for ops in OPS[:-1]}
    for ops, (loss, gradient) in errors.items():
        print(f"{ops}: loss off by {loss:.1e}, gradients by {gradient:.1e} (of the reference's)")
        # Written so that NaN is wrong.
        if not (loss <= ALLOWED_LOSS and gradient <= ALLOWED_GRADIENT):
            print(f"WRONG: allowed are {ALLOWED_LOSS:.0e} and {ALLOWED_GRADIENT:.0e}")
            return 1
    steps = {ops: step(each, image, labels) for ops, each in tasks.items()}
    seconds = in_turns(steps, "cpu", options.rounds)
    peaks = {ops: memory.in_own_process("benchmarks.train_step", ops, threads) for ops in OPS}
    rows = []
    for ops in OPS:
        best, median, slowest = min(seconds[ops]), statistics.median(seconds[ops]), OPS[-1]
        times = (best, median, min(seconds[slowest]) / best)
        memories = (number(peaks[ops], 0, 1e-6), number(peaks[slowest] / peaks[ops], 2))
        rows.append((ops, *(number(each, 2) for each in times), *memories))
    print("", table(("ops", "best s", "median", "x", "peak MB", "x"), rows), sep="\n")
    if options.json:
        content = {"facts": facts, "errors": errors, "seconds": seconds, "peak_bytes": peaks}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
        print(f"\nwritten: {options.json}")
    return 0


def make_task(recipe: dict[str, Any]) -> Segmentation:
    """The recipe's network and loss, with random weights."""
    return Segmentation(**(recipe["model"] | {"pretrained": None})).train()


def batch(recipe: dict[str, Any]) -> tuple[str, Tensor, Tensor]:
    """Where it comes from, and the recipe's first batch: of CamVid, or of noise."""
    settings = recipe["data"]
    root = camvid_root()
    if root is None:
        size = (settings["batch_size"], *settings["crop"])
        image = torch.randn(size[0], 3, *size[1:])
        source, labels = "noise", torch.randint(0, recipe["model"]["num_classes"], size)
        labels = labels.byte()
    else:
        data = SegmentationData(**(settings | {"root": str(root), "workers": 0}))
        data.setup("fit")
        source, (image, labels) = "CamVid", next(iter(data.train_dataloader()))
    return source, image.contiguous(memory_format=torch.channels_last), labels


def deviation(
    task: Segmentation, reference: Segmentation, image: Tensor, labels: Tensor
) -> tuple[float, float]:
    """Relative errors of the cross-entropy and of its gradients (L2 over all parameters).

    The contrastive term is left out: which anchors it draws depends on which pixels are right,
    and a pixel on the verge is right or wrong by a rounding.
    """

    def evaluate(task: Segmentation) -> tuple[Tensor, Tensor]:
        loss = cross_entropy(task.model(image), labels)
        gradients = torch.autograd.grad(loss, list(task.model.parameters()), allow_unused=True)
        return loss.detach(), torch.cat([g.flatten() for g in gradients if g is not None])

    (loss, gradient), (true_loss, true_gradient) = evaluate(task), evaluate(reference)
    difference = (gradient - true_gradient).norm() / true_gradient.norm()
    return float((loss - true_loss).abs() / true_loss), float(difference)


def step(task: Segmentation, image: Tensor, labels: Tensor) -> Callable[[], None]:
    """One step of training, to be called again and again."""
    settings = task.hparams
    optimizer = torch.optim.AdamW(
        parameter_groups(
            task.model, settings.lr, settings.backbone_lr or settings.lr, settings.weight_decay
        )
    )

    def run() -> None:
        logits, embedding = task.model(image, return_embedding=True)
        loss = task.loss(logits, labels, embedding)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def peak_bytes(recipe: dict[str, Any], ops: str) -> int:
    """Resident memory of two steps beyond that of the process with the network and the batch."""
    _, image, labels = batch(recipe)
    run = step(with_ops(make_task(recipe), ops), image, labels)
    before = memory.start("cpu")
    run()
    run()
    return memory.peak("cpu") - before


if __name__ == "__main__":
    sys.exit(main())
