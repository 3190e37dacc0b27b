"""``python -m benchmarks.train_step``: a training step on the CPU, with fused, eager and reference
ops: seconds and peak memory. Of the CamVid recipe, or of another network, crop, batch and number of
classes, then with noise.

Ops whose loss or gradients are wrong stop the run before anything is timed, and the exit status is
1: they are compared with the definition, on a part of the batch. A step is forward,
loss, backward and optimiser; neither loading images nor averaging weights is in it. The loss takes
the logits at stride 4, as training does: with eager ops it upsamples them first.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torchvision.ops import StochasticDepth

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
SQUARE = 32  # pixels of a side
IGNORED = 255  # the label of pixels without a class
ALLOWED_LOSS, ALLOWED_GRADIENT = 1e-5, 1e-3  # relative; in float32, over the whole network
PART = 128  # pixels of a side of what is compared


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="steps of each that are timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), metavar="N")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write everything there")
    parser.add_argument("memory", nargs="?", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--ops", nargs="+", choices=OPS, default=OPS, help="fastest first")
    parser.add_argument("--backbone", help="see scrn.build_model")
    parser.add_argument("--crop", type=int, nargs=2, metavar=("H", "W"))
    parser.add_argument("--batch", type=int, metavar="N")
    parser.add_argument("--classes", type=int, metavar="N")
    options = parser.parse_args(argv)
    if options.memory:
        ops, threads, recipe = options.memory
        torch.set_num_threads(threads)
        keep_freed_memory()
        print(peak_bytes(recipe, ops))
        return 0
    if options.classes is not None and not 1 <= options.classes <= IGNORED:
        parser.error(f"--classes: expected 1 to {IGNORED}, got {options.classes}")
    threads, norm = options.threads, options.ops[-1]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep_freed_memory()  # as training does
    recipe = changed(yaml.safe_load(RECIPE.read_text()), options)
    source, image, labels = batch(recipe)
    facts = environment.describe("cpu") | {"threads": threads, "images": source}
    print(environment.headline(facts))
    print(f"{tuple(image.shape)} {source}, {threads} threads")
    task = make_task(recipe)
    displace(task.model, image)
    tasks = {ops: with_ops(task, ops) for ops in options.ops}
    part = image[:, :, :PART, :PART], labels[:, :PART, :PART]
    errors = deviations(tasks, task, *part)
    for ops, (loss, gradient) in errors.items():
        print(f"{ops}: loss off by {loss:.1e}, gradients by {gradient:.1e}")
        # Written so that NaN is wrong.
        if not (loss <= ALLOWED_LOSS and gradient <= ALLOWED_GRADIENT):
            print(f"WRONG: allowed are {ALLOWED_LOSS:.0e} and {ALLOWED_GRADIENT:.0e}")
            return 1
    # Measured first: later this process holds a step's memory, and does not give it back.
    program = "benchmarks.train_step"
    peaks = {ops: memory.in_own_process(program, ops, threads, recipe) for ops in options.ops}
    steps = {ops: step(each, image, labels) for ops, each in tasks.items()}
    seconds = in_turns(steps, "cpu", options.rounds)
    rows = []
    for ops in options.ops:
        best, median = min(seconds[ops]), statistics.median(seconds[ops])
        times = (best, median, min(seconds[norm]) / best)
        memories = (number(peaks[ops], 0, 1e-6), number(peaks[norm] / peaks[ops], 2))
        rows.append((ops, *(number(each, 2) for each in times), *memories))
    print("", table(("ops", "best s", "median", "x", "peak MB", "x"), rows), sep="\n")
    if options.json:
        facts |= {"model": recipe["model"], "data": recipe["data"]}
        content = {"facts": facts, "errors": errors, "seconds": seconds, "peak_bytes": peaks}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
        print(f"\nwritten: {options.json}")
    return 0


def changed(recipe: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The recipe with what the command line says of it, and then without a data set."""
    model = {"backbone": options.backbone, "num_classes": options.classes}
    data = {"crop": options.crop, "batch_size": options.batch}
    model, data = ({k: v for k, v in given.items() if v is not None} for given in (model, data))
    noise = {"root": None} if model or data else {}
    return recipe | {"model": recipe["model"] | model, "data": recipe["data"] | data | noise}


def make_task(recipe: dict[str, Any]) -> Segmentation:
    """The recipe's network and loss, with random weights."""
    return Segmentation(**(recipe["model"] | {"pretrained": None})).train()


def batch(recipe: dict[str, Any]) -> tuple[str, Tensor, Tensor]:
    """Where it comes from, and the recipe's first batch: of CamVid, or of noise whose classes cover
    squares."""
    settings = recipe["data"]
    root = None if settings.get("root", "") is None else camvid_root()
    if root is None:
        size = (settings["batch_size"], *settings["crop"])
        image = torch.randn(size[0], 3, *size[1:])
        squares = torch.rand(size[0], 1, *(length // SQUARE + 1 for length in size[1:]))
        squares = (squares * recipe["model"]["num_classes"]).floor()
        source, labels = "noise", squares.repeat_interleave(SQUARE, 2).repeat_interleave(SQUARE, 3)
        labels = labels[:, 0, : size[1], : size[2]].byte()
    else:
        data = SegmentationData(**(settings | {"root": str(root), "workers": 0}))
        data.setup("fit")
        source, (image, labels) = "CamVid", next(iter(data.train_dataloader()))
    return source, image.contiguous(memory_format=torch.channels_last), labels


def deviations(
    tasks: dict[str, Segmentation], task: Segmentation, image: Tensor, labels: Tensor
) -> dict[str, tuple[float, float]]:
    """Relative errors of the cross-entropy and of its gradients (L2 over all parameters).

    The contrastive term is left out: which anchors it draws depends on which pixels are right,
    and a pixel on the verge is right or wrong by a rounding. So are branches that are dropped at
    random, which would be others in every call. The definition is in float32, too: in float64 other
    pixels of the backbone pass their activations, and the gradients of all ops differ alike.
    """

    def evaluate(task: Segmentation) -> tuple[Tensor, Tensor]:
        task = copy.deepcopy(task)
        for module in task.modules():
            if isinstance(module, StochasticDepth):
                module.p = 0.0
        logits = task.model(image, full_size=False)
        loss = cross_entropy(logits, labels, backend=task.loss.backend)
        gradients = torch.autograd.grad(loss, list(task.model.parameters()), allow_unused=True)
        return loss.detach(), torch.cat([g.flatten() for g in gradients if g is not None])

    true_loss, true_gradient = evaluate(with_ops(task, "reference"))
    errors = {}
    for ops, each in tasks.items():
        loss, gradient = evaluate(each)
        difference = (gradient - true_gradient).norm() / true_gradient.norm()
        errors[ops] = float((loss - true_loss).abs() / true_loss), float(difference)
    return errors


def step(task: Segmentation, image: Tensor, labels: Tensor) -> Callable[[], None]:
    """One step of training, to be called again and again."""
    settings = task.hparams
    optimizer = torch.optim.AdamW(
        parameter_groups(
            task.model, settings.lr, settings.backbone_lr or settings.lr, settings.weight_decay
        )
    )

    def run() -> None:
        logits, embedding = task.model(image, return_embedding=True, full_size=False)
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
