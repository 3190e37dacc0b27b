"""Parameters and operations of the network, for one image.

'paper' counts multiply-accumulates of convolutions and linear layers, 2 per element of batch norms,
1 of ReLUs, and nothing else; 'full' counts every multiplication and every addition, of every
operator. The embedding head of the training loss does not count.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from . import build_model
from .flops import module_counts, operator_counts
from .models import CONTEXTS, SCRN, UPSAMPLERS
from .models.network import MIN_SIZE


@dataclass(frozen=True)
class Cost:
    """What a part of the network costs for one image."""

    parameters: int
    paper: int
    """Operations in the paper's convention."""
    full: int
    """All operations, see :mod:`scrn.flops`."""


def measure(model: SCRN, size: tuple[int, int]) -> dict[str, Cost]:
    """The cost of every part, and the ``"total"``, for an image [1, 3, *size].

    The embedding head, which serves training alone, does not count. Nothing is computed: the
    model runs on fake tensors, in evaluation mode.

    Raises:
        ValueError: a size below the network's least.
        NotImplementedError: an operator whose operations the full count does not know.
    """
    if min(size) < MIN_SIZE:
        raise ValueError(
            f"size: expected a height and a width of at least {MIN_SIZE}, got {size[0]}x{size[1]}"
        )
    parts: dict[str, nn.Module] = {
        "backbone": model.backbone,
        "context": model.context,
        "decoder": model.decoder,
        "upsamplers": model.upsamplers,
        "head": model.head,
    }
    # A list of modules never runs itself.
    scopes = {name: part for name, part in parts.items() if name != "upsamplers"}
    scopes |= {f"upsamplers.{i}": module for i, module in enumerate(model.upsamplers)}
    training = model.training
    with FakeTensorMode(allow_non_fake_inputs=True):
        image = torch.empty(1, 3, *size)
        by_module = module_counts(model.eval(), image)
        by_scope, unknown = operator_counts(model, image, scopes)
    model.train(training)
    if unknown:
        raise NotImplementedError(f"operators without a count: {', '.join(sorted(unknown))}")
    costs = {}
    for name, part in parts.items():
        modules = set(part.modules())
        if name == "decoder":
            modules -= set(model.upsamplers.modules())
        costs[name] = Cost(
            sum(p.numel() for m in modules for p in m.parameters(recurse=False)),
            sum(n for module, n in by_module.items() if module in modules),
            sum(n for scope, n in by_scope.items() if scope.split(".")[0] == name),
        )
    costs["logits"] = Cost(0, 0, by_scope.get("rest", 0))
    costs["total"] = Cost(
        *(sum(getattr(c, f) for c in costs.values()) for f in ("parameters", "paper", "full"))
    )
    return costs


@dataclass(frozen=True)
class PublishedTotal:
    """A row of the paper's tables: GFLOPs in its convention, and millions of parameters."""

    backbone: str
    upsampler: str
    size: tuple[int, int]
    num_classes: int
    gflops: float
    parameters: float
    parameters_explained: str = ""
    """Why the parameters cannot be met, where they cannot."""


_INCONSISTENT = (
    "the paper's {paper} M is {paper_more} M over bilinear, yet its GFLOPs over bilinear fit a "
    "structure of {ours_more} M, the published one, and no larger one"
)
PUBLISHED = (
    PublishedTotal("mscan_s", "bilinear", (1024, 2048), 19, 122.15, 15.21),
    PublishedTotal(
        "mscan_s", "fam", (1024, 2048), 19, 124.31, 15.45,
        _INCONSISTENT.format(paper="15.45", paper_more="0.24", ours_more="0.06"),
    ),
    PublishedTotal(
        "mscan_s", "align_fa", (1024, 2048), 19, 134.31, 15.6,
        _INCONSISTENT.format(paper="15.6", paper_more="0.39", ours_more="0.21"),
    ),
    PublishedTotal("mscan_s", "srm", (1024, 2048), 19, 137.83, 15.49),
    PublishedTotal("van_s", "srm", (1024, 2048), 19, 135.1, 15.4),
    PublishedTotal("mscan_l", "srm", (1024, 2048), 19, 411.2, 46.7),
    PublishedTotal("mscan_s", "srm", (512, 512), 150, 17.5, 15.5),
    PublishedTotal("van_s", "srm", (512, 512), 150, 17.2, 15.4),
    PublishedTotal("mscan_s", "srm", (720, 1280), 19, 60.7, 15.5),
    PublishedTotal("van_s", "srm", (720, 1280), 19, 59.5, 15.4),
)  # fmt: skip


def compare(row: PublishedTotal) -> tuple[Cost, float, float]:
    """Our total for a row, and how far it lies from the paper's, in per cent: operations and
    parameters."""
    model = build_model(row.backbone, upsampler=row.upsampler, num_classes=row.num_classes)
    total = measure(model, row.size)["total"]
    return (
        total,
        100 * (total.paper / 1e9 / row.gflops - 1),
        100 * (total.parameters / 1e6 / row.parameters - 1),
    )


def _print_table() -> None:
    print(
        f"{'backbone':9}{'upsampler':11}{'input':>10}{'classes':>8}"
        f"{'GFLOPs paper':>14}{'ours':>9}{'%':>7}{'M paper':>10}{'ours':>8}{'%':>7}"
        f"{'GFLOPs full':>13}"
    )
    notes = []
    for row in PUBLISHED:
        total, off, off_parameters = compare(row)
        mark = ""
        if row.parameters_explained:
            notes.append(row.parameters_explained)
            mark = f"  [{len(notes)}]"
        size = f"{row.size[0]}x{row.size[1]}"
        print(
            f"{row.backbone:9}{row.upsampler:11}{size:>10}{row.num_classes:>8}"
            f"{row.gflops:>14.2f}{total.paper / 1e9:>9.2f}{off:>+7.2f}"
            f"{row.parameters:>10.2f}{total.parameters / 1e6:>8.2f}{off_parameters:>+7.2f}"
            f"{total.full / 1e9:>13.2f}{mark}"
        )
    for number, note in enumerate(notes, 1):
        print(f"[{number}] {note}")


def _print_parts(args: argparse.Namespace) -> None:
    model = build_model(
        args.backbone,
        upsampler=args.upsampler,
        context=args.context,
        num_classes=args.num_classes,
    )
    costs = measure(model, tuple(args.size))
    print(f"{'part':12}{'parameters (M)':>16}{'GFLOPs (paper)':>16}{'GFLOPs (full)':>15}")
    for name, cost in costs.items():
        print(
            f"{name:12}{cost.parameters / 1e6:>16.3f}{cost.paper / 1e9:>16.3f}"
            f"{cost.full / 1e9:>15.3f}"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", default="mscan_s", help="mscan_s, van_l, timm:resnet18, ...")
    parser.add_argument("--upsampler", default="srm", choices=sorted(UPSAMPLERS))
    parser.add_argument("--context", default="crm", choices=sorted(CONTEXTS))
    parser.add_argument("--num-classes", type=int, default=19, metavar="N")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(1024, 2048), metavar=("HEIGHT", "WIDTH")
    )
    parser.add_argument(
        "--table", action="store_true", help="the totals in the paper's tables beside ours"
    )


def run(args: argparse.Namespace) -> None:
    if args.table:
        _print_table()
    else:
        _print_parts(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``scrn cost`` and returns the exit status."""
    from .cli import main as scrn

    return scrn(["cost", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    raise SystemExit(main())
