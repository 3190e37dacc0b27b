"""``--format aoti``: an AOTInductor package (``.pt2``), for Python and for C++ without Python.

The package takes a photo [H, W, 3], uint8, of any size, and gives its classes [H, W], uint8. The
network inside has one size, to which the photo is brought; the fused operators are called through
torch's dispatcher, where ``libscrn_ops.so`` registers them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrn_ops import reference, upsampled_argmax

from ..engine.inference import fastest_layout
from ..engine.prediction import segment_labels
from ..engine.weights import SavedModel
from ..models.network import MIN_SIZE

AGREEMENT = 0.999
"""Of the pixels, below which a package is no result. Rounding moves those at ties alone."""


def add_arguments(options: Any) -> None:
    options.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="of the network, to which it brings a photo (default: the model's short side at 3:4)",
    )
    options.add_argument(
        "--device", default="cpu", choices=("cpu", "cuda"), help="to compile for, which is here"
    )


def run(args: argparse.Namespace, saved: SavedModel) -> None:
    size = _size(args.size, saved.short_side)
    _check(args.output, args.device)
    # Beside the result, so that it is moved there whole.
    with tempfile.TemporaryDirectory(dir=args.output.parent, prefix=".aoti-") as folder:
        made = Path(folder) / "model.pt2"
        write_package(saved, size, made, args.device)
        shares = agreement(saved, size, made, args.device)
        if min(shares.values()) < AGREEMENT:
            raise ValueError(
                f"format aoti: expected the network's classes on {AGREEMENT:.1%} of the pixels of "
                f"every photo, got {min(shares.values()):.2%}; nothing was written"
            )
        os.replace(made, args.output)
    found = ", ".join(f"{share:.3%} of a photo of {photo}" for photo, share in shares.items())
    megabytes = args.output.stat().st_size / 1e6
    print(
        f"{args.output}: {megabytes:.1f} MB for {args.device}, the network at {size[0]}x{size[1]}"
    )
    print(f"the network's classes on {found}")


def _size(given: list[int] | None, short_side: int | None) -> tuple[int, int]:
    if given is None and not short_side:
        raise ValueError("size: expected --size H W for a model without a short side of photos")
    height, width = given or (short_side, round((short_side or 0) * 4 / 3))
    if min(height, width) < MIN_SIZE:
        raise ValueError(
            f"size: expected a height and a width of at least {MIN_SIZE}, got {height}x{width}"
        )
    return height, width


def _check(output: Path, device: str) -> None:
    """Before minutes of work rather than after."""
    if output.suffix != ".pt2":
        raise ValueError(f"output: expected a name that ends with .pt2, got {output}")
    if not os.access(output.parent, os.W_OK):
        raise ValueError(f"output: expected a folder that can be written to, got {output.parent}")
    if output.is_dir():
        raise ValueError(f"output: expected a file's path, got the folder {output}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected 'cpu' where torch finds no CUDA device, got 'cuda'")
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ValueError(f"format aoti: expected a C++ compiler, found no {compiler}")


class PhotoClasses(nn.Module):
    """Photo [H, W, 3], uint8, to classes [H, W], uint8, both on the CPU, as ``scrn predict`` has
    them of a photo that it brings to the same size."""

    mean: Tensor
    std: Tensor

    def __init__(self, saved: SavedModel, size: tuple[int, int], device: str) -> None:
        super().__init__()
        self.model = saved.model
        self.size = size
        self.layout = fastest_layout(device)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(saved, name), device=device)
            self.register_buffer(name, values[:, None, None])

    def forward(self, photo: Tensor) -> Tensor:
        # Of uint8, as prediction resizes it: on the CPU alone.
        pixels = photo.permute(2, 0, 1)[None]
        pixels = F.interpolate(pixels, self.size, mode="bilinear", antialias=True)
        image = (pixels.to(self.mean.device) / 255 - self.mean) / self.std
        logits = self.model(image.contiguous(memory_format=self.layout))
        labels: Any = upsampled_argmax(logits, photo.shape[:2], dtype=torch.uint8)
        return labels[0].cpu()


def write_package(saved: SavedModel, size: tuple[int, int], path: Path, device: str) -> None:
    """Compiles the network for the device, into a package at ``path``."""
    module = PhotoClasses(_on(saved.fuse(), device), size, device).eval()
    photo = torch.zeros(size[0] + 1, size[1] + 3, 3, dtype=torch.uint8)
    sides = {0: torch.export.Dim("height", min=1), 1: torch.export.Dim("width", min=1)}
    with torch.no_grad():
        program = torch.export.export(module, (photo,), dynamic_shapes=(sides,))
        program = without_python(program)
        torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(path),
            inductor_configs={"aot_inductor.metadata": metadata(saved, size)},
        )


def _on(saved: SavedModel, device: str) -> SavedModel:
    saved.model.to(device).to(memory_format=fastest_layout(device))
    return saved


def metadata(saved: SavedModel, size: tuple[int, int]) -> dict[str, str]:
    """What a program asks the package for: numbers apart by blanks, classes by lines."""

    def numbers(values: Any) -> str:
        return " ".join(map(str, values))

    return {
        "classes": "\n".join(saved.classes),
        "colors": numbers(part for color in saved.colors for part in color),
        "mean": numbers(saved.mean),
        "std": numbers(saved.std),
        "size": numbers(size),
        "terms": str(saved.about.get("terms", "")),
    }


def _attention(
    query: Tensor,
    key: Tensor,
    unary: Tensor,
    value: Tensor,
    scale: float = 1.0,
    keep_probabilities: bool = False,
    path: str | None = None,
) -> tuple[Tensor, ...]:
    output = reference.whitened_attention(query, key, unary, value, scale=scale)
    # What only a backward reads.
    return output, value.new_empty(0), value.new_empty(0), value.new_empty(0)


def without_python(program: Any) -> Any:
    """The same program without operators whose kernels are Python's, which a process without
    Python has not.

    Raises:
        ValueError: one that is neither torch's nor in our library.
    """
    attention = torch.ops.scrn_ops.whitened_attention.default
    program = program.run_decompositions({attention: _attention})
    for node in program.graph.nodes:
        target = node.target
        if not isinstance(target, torch._ops.OpOverload):
            continue
        known = target.namespace in ("aten", "prims", "scrn_ops")
        if not known or target.name().startswith("scrn_ops::whitened_attention"):
            raise ValueError(
                f"model: expected operators of torch and of libscrn_ops.so, got {target.name()}"
            )
    return program


def agreement(
    saved: SavedModel, size: tuple[int, int], path: Path, device: str
) -> dict[str, float]:
    """The share of pixels that the package gives the network's classes, of a photo of the
    network's size and of one that is resized."""
    runner = torch._inductor.aoti_load_package(str(path))
    saved = _on(saved, device)
    module = PhotoClasses(saved, size, device).eval()
    shares = {}
    for height, width in (size, (size[0] * 3 // 2 + 1, size[1] * 4 // 3)):
        coarse = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(0))
        photo = (F.interpolate(coarse, (height, width), mode="bilinear")[0] * 255).byte()
        pixels = photo.permute(1, 2, 0).contiguous()
        with torch.inference_mode():
            whole = (height, width) == size
            expected = segment_labels(saved, photo, short_side=0) if whole else module(pixels)
            same = runner(pixels) == expected
        shares[f"{height}x{width}"] = float(same.float().mean())
    return shares
