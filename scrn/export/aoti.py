"""``--format aoti``: an AOTInductor package (``.pt2``), for Python and for C++ without Python.

The package takes a photo [H, W, 3], uint8, of any size, and gives its classes [H, W], uint8. The
network inside has one size, to which the photo is brought; the fused operators are called through
torch's dispatcher, where ``libscrn_ops.so`` registers them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrn_ops import reference, upsampled_argmax

from ..engine.inference import fastest_layout
from ..engine.prediction import segment_labels
from ..engine.weights import SavedModel
from ..models import with_ops
from ..models.network import MIN_SIZE
from .writing import SMALLEST_AGREEMENT, check_classes, check_weights, facts, replacing

Size = tuple[int, int]


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
    shares = export_aoti(saved, args.output, size, args.device)
    megabytes = args.output.stat().st_size / 1e6
    height, width = size
    print(f"{args.output}: {megabytes:.1f} MB for {args.device}, the network at {height}x{width}")
    for (height, width), share in shares.items():
        print(f"the network's classes on {share:.3%} of the pixels of a photo of {height}x{width}")


def export_aoti(
    saved: SavedModel, path: Path, size: Size, device: str = "cpu"
) -> dict[Size, float]:
    """Writes a network as an AOTInductor package, and compares what the package makes of photos
    with what the network does.

    The package's one input is a photo, uint8 ``[H, W, 3]`` and contiguous, and its output its class
    map, uint8 ``[H, W]``, both on the CPU. It reads another tensor as if it were one: strides, type
    and channels are compared only where ``AOTI_RUNTIME_CHECK_INPUTS=1`` is in the environment. The
    metadata has ``classes``, ``colors``, ``mean``, ``std`` and ``size``, and as far as they are
    known ``data`` and ``terms``, each as JSON.

    Args:
        saved: what :func:`scrn.load_model` gives.
        path: of the package, which ends with ``.pt2``.
        size: (height, width) of the network.
        device: ``"cpu"`` or ``"cuda"``, to compile for.

    Returns:
        The share of equal classes by the sizes of the photos.

    Raises:
        ValueError: a path, a size or a device that does not fit, more than 256 classes, no
            compiler; or the package gives other classes, and nothing is written.
    """
    path = Path(path)
    _check(saved, path, size, device)
    saved = replace(saved, model=with_ops(saved.model, "fused").eval())  # and the caller's is kept
    with replacing(path) as made:
        write_package(saved, size, made, device)
        shares = agreement(saved, size, made, device)
        if min(shares.values()) < SMALLEST_AGREEMENT:
            raise ValueError(
                f"model: expected the network's classes on {SMALLEST_AGREEMENT:.1%} of the pixels "
                f"of a photo, got {min(shares.values()):.2%}; {path} was not written"
            )
    return shares


def _size(given: list[int] | None, short_side: int | None) -> Size:
    if given is not None:
        height, width = given
        return height, width
    if not short_side:
        raise ValueError("size: expected --size H W for a model without a short side of photos")
    return short_side, round(short_side * 4 / 3)


def _check(saved: SavedModel, path: Path, size: Size, device: str) -> None:
    """Before minutes of work rather than after."""
    check_classes(saved)
    check_weights(saved)
    if min(size) < MIN_SIZE:
        raise ValueError(
            f"size: expected a height and a width of at least {MIN_SIZE}, got {size[0]}x{size[1]}"
        )
    if path.suffix != ".pt2":
        raise ValueError(f"output: expected a name that ends with .pt2, got {path}")
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

    def __init__(self, saved: SavedModel, size: Size, device: str) -> None:
        super().__init__()
        self.model = saved.model
        self.size = size
        self.layout = fastest_layout(device)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(saved, name), device=device)
            self.register_buffer(name, values[:, None, None])

    def forward(self, photo: Tensor) -> Tensor:
        # Resized as uint8, as by prediction, which torch does on the CPU alone. The strides of a
        # single pixel would say no layout, nor that of the result, which is compiled in.
        pixels = photo.permute(2, 0, 1)[None].clone(memory_format=torch.contiguous_format)
        pixels = F.interpolate(pixels, self.size, mode="bilinear", antialias=True)
        image = (pixels.to(self.mean.device) / 255 - self.mean) / self.std
        logits = self.model(image.contiguous(memory_format=self.layout))
        labels: Any = upsampled_argmax(logits, photo.shape[:2], dtype=torch.uint8)
        return labels[0].cpu()


def write_package(saved: SavedModel, size: Size, path: Path, device: str) -> None:
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
            inductor_configs={
                "aot_inductor.metadata": metadata(saved, size),
                # oneDNN's order of the weights is made now instead of at every call.
                "freezing": device == "cpu",
                # As many threads as there are where it runs, not as there are here.
                "cpp.dynamic_threads": True,
            },
        )


def _on(saved: SavedModel, device: str) -> SavedModel:
    saved.model.to(device).to(memory_format=fastest_layout(device))
    return saved


def metadata(saved: SavedModel, size: Size) -> dict[str, str]:
    """What a program may ask the package for."""
    return {name: json.dumps(value) for name, value in (facts(saved) | {"size": size}).items()}


def _attention(
    query: Tensor, key: Tensor, unary: Tensor, value: Tensor, scale: float = 1.0, *_: Any
) -> tuple[Tensor, ...]:
    """The formula, and nothing where the operator has what a backward reads."""
    output = reference.whitened_attention(query, key, unary, value, scale=scale)
    return output, *(value.new_empty(0) for _ in range(3))


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


def agreement(saved: SavedModel, size: Size, path: Path, device: str) -> dict[Size, float]:
    """The share of pixels that the package gives the network's classes, of a photo of the
    network's size and of one that is resized."""
    runner = torch._inductor.aoti_load_package(str(path))
    saved = _on(saved, device)
    module = PhotoClasses(saved, size, device).eval()
    shares = {}
    for sides in (size, (size[0] * 3 // 2 + 1, size[1] * 4 // 3)):
        coarse = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(0))
        photo = (F.interpolate(coarse, sides, mode="bilinear")[0] * 255).byte()
        pixels = photo.permute(1, 2, 0).contiguous()
        with torch.inference_mode():
            expected = (
                segment_labels(saved, photo, short_side=0) if sides == size else module(pixels)
            )
            same = runner(pixels) == expected
        shares[sides] = float(same.float().mean())
    return shares
