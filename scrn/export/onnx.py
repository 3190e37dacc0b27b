"""``--format onnx``: a file of standard operators for ONNX Runtime, OpenVINO and others."""

from __future__ import annotations

import argparse
import copy
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from scrn_ops import upsampled_argmax
from scrn_ops.onnx import GRID_SAMPLES

from ..engine.weights import SavedModel
from ..models import with_ops
from ..models.network import MIN_SIZE, SCRN, FusedSCRN
from .same_padding import replace_same_padding
from .writing import SMALLEST_AGREEMENT, check_classes, check_weights, facts, replacing

OPSET = 18
LARGEST_DIFFERENCE = 1e-4
IMAGE, LOGITS, LABELS = "image", "logits", "labels"

# Batch, height and width: no multiples of anything, and so large that no map has a size of 1, of
# which torch.export takes that it is always so. No values are computed for it.
_TRACED = (2, 1030, 1290)
_CHECKED = ((1, 64, 96), (3, 101, 77), (1, MIN_SIZE, 131))


@dataclass(frozen=True)
class Difference:
    """Of ONNX Runtime's results from PyTorch's, over images of sizes that were not traced.

    Attributes:
        logits: the largest difference, relative to the range of the logits; None of a file that
            gives labels.
        agreement: the share of the pixels that have the same class.
    """

    logits: float | None
    agreement: float

    def __str__(self) -> str:
        text = f"the same class on {100 * self.agreement:.3f} % of the pixels"
        if self.logits is None:
            return text
        return f"logits within {self.logits:.1e} of their range, {text}"

    @property
    def is_small(self) -> bool:
        # Written so that a NaN is not small.
        return (
            self.logits is None or self.logits <= LARGEST_DIFFERENCE
        ) and self.agreement >= SMALLEST_AGREEMENT


def add_arguments(options: Any) -> None:
    options.add_argument(
        "--labels",
        action="store_true",
        help="a uint8 photo [B, H, W, 3] to a uint8 class map [B, H, W], instead of an image "
        "[B, 3, H, W] in [0, 1] to logits [B, classes, H, W]",
    )
    options.add_argument(
        "--grid-sample",
        default=GRID_SAMPLES[0],
        choices=GRID_SAMPLES,
        help="gather: without the operator GridSample, which some runtimes lack (default: native)",
    )
    options.add_argument("--opset", type=int, default=OPSET, metavar="N", help=f"default: {OPSET}")


def run(args: argparse.Namespace, saved: SavedModel) -> None:
    difference = export_onnx(
        saved, args.output, labels=args.labels, grid_sample=args.grid_sample, opset=args.opset
    )
    size = args.output.stat().st_size / 1e6
    print(f"{args.output}: {size:.1f} MB, opset {args.opset}; ONNX Runtime: {difference}")


def export_onnx(
    saved: SavedModel,
    path: Path,
    *,
    labels: bool = False,
    grid_sample: str = "native",
    opset: int = OPSET,
) -> Difference:
    """Writes a network as ONNX, and compares what ONNX Runtime makes of it with the network.

    Batch, height and width are dynamic, height and width from 32. The normalisation is inside: the
    input ``image`` is RGB, float32 ``[B, 3, H, W]`` in [0, 1], and the output ``logits`` float32
    ``[B, classes, H, W]``. The metadata has ``classes``, ``colors``, ``mean``, ``std``,
    ``short_side``, to which prediction brings a photo's short side, ``min_size``, and as far as
    they are known ``data`` and ``terms``, each as JSON.

    Args:
        saved: what :func:`scrn.load_model` gives.
        path: of the file, which holds the weights, too.
        labels: the input is a photo, uint8 ``[B, H, W, 3]``, and the output ``labels`` its class
            map, uint8 ``[B, H, W]``.
        grid_sample: see :func:`scrn_ops.onnx.translation_table`.
        opset: of the operators, from 18; from 20 on TensorRT misreads GridSample.

    Raises:
        ValueError: an option or a path that does not fit, more than 256 classes with ``labels``,
            weights that are not float32; or ONNX Runtime's results differ, and no file is left.
        ModuleNotFoundError: onnx, onnxruntime or onnxscript is not installed.
    """
    _check_options(saved, labels, opset)
    if opset >= 20 and grid_sample == "native":
        warnings.warn(
            f"opset {opset}: TensorRT reads GridSample's mode of opset 20, 'linear', as nearest; "
            f"expected {OPSET}, or grid_sample='gather', where TensorRT is to read the file",
            stacklevel=2,
        )
    with replacing(Path(path)) as unchecked:
        network = with_ops(saved.model, "fused").to("cpu")
        network = network.to(memory_format=torch.contiguous_format)
        # A copy, since its convolutions are replaced, and the network is what is compared with.
        is_fused = isinstance(network, FusedSCRN)
        fused = copy.deepcopy(network) if is_fused else network.eval().fuse()
        program = _translated(
            _WithNormalisation(fused, saved, labels), _example(_TRACED, labels), grid_sample, opset
        )
        for name, value in _metadata(saved).items():
            program.model.metadata_props[name] = json.dumps(value)
        program.save(unchecked, external_data=False)
        difference = _checked(unchecked, _WithNormalisation(network, saved, labels), labels)
        if not difference.is_small:
            raise ValueError(
                f"model: expected ONNX Runtime's results to be PyTorch's, got {difference}; "
                f"{path} was not written"
            )
    return difference


def _check_options(saved: SavedModel, labels: bool, opset: int) -> None:
    import onnx
    import onnxruntime  # noqa: F401 (an export takes long, and what it needs should be there)
    import onnxscript  # noqa: F401

    check_weights(saved)
    newest = onnx.defs.onnx_opset_version()
    if not OPSET <= opset <= newest:
        raise ValueError(f"opset: expected a number from {OPSET} to {newest}, got {opset}")
    if labels:
        check_classes(saved, "labels")


def _metadata(saved: SavedModel) -> dict[str, Any]:
    return facts(saved) | {"short_side": saved.short_side, "min_size": MIN_SIZE}


class _WithNormalisation(nn.Module):
    """The network from the image to what the file gives."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: SCRN, saved: SavedModel, labels: bool) -> None:
        super().__init__()
        self.network = network
        self.labels = labels
        self.register_buffer("mean", torch.tensor(saved.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(saved.std).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        if self.labels:
            image = image.permute(0, 3, 1, 2).float() / 255
        normalised = (image - self.mean) / self.std
        if not self.labels:
            logits: Tensor = self.network(normalised)
            return logits
        scores = self.network(normalised, full_size=False)
        classes: Any = upsampled_argmax(scores, normalised.shape[2:], dtype=torch.uint8)
        return classes


@torch.no_grad()
def _translated(module: nn.Module, example: Tensor, grid_sample: str, opset: int) -> Any:
    """The ONNX program of a module that takes images; the module is changed."""
    from .onnx_operators import translations

    rows = 1 if example.dtype == torch.uint8 else 2
    sizes = dict.fromkeys((0, rows, rows + 1), Dim.DYNAMIC)
    replace_same_padding(module)
    # What is compared of the sizes while tracing, for one whether a map may be upsampled to
    # another, holds at every size; a proof of it torch does not find.
    exported = torch.export.export(
        module.eval(),
        (example,),
        dynamic_shapes=(sizes,),
        strict=False,
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    program: Any = torch.onnx.export(
        exported,
        dynamo=True,
        verbose=False,
        opset_version=opset,
        input_names=[IMAGE],
        output_names=[LABELS if rows == 1 else LOGITS],
        custom_translation_table=translations(grid_sample),
    )
    _tidy(program.model, rows)
    return program


def _tidy(model: Any, rows: int) -> None:
    """Names the dynamic sizes, and drops what torch notes beside the graph: where on this machine
    each node's source lies, and the sizes of what is between, which others infer as they need."""
    names = {0: "batch", rows: "height", rows + 1: "width"}
    (image,), (result,) = model.graph.inputs, model.graph.outputs
    for value in (image, result):
        sizes = names if value is image else {0: "batch", value.shape.rank() - 2: "height"}
        sizes = sizes if value is image else sizes | {value.shape.rank() - 1: "width"}
        value.shape = type(value.shape)([sizes.get(i, size) for i, size in enumerate(value.shape)])
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
            if value is not result:
                value.shape = value.type = None
    for value in (image, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.metadata_props.clear()


def _example(size: tuple[int, int, int], labels: bool) -> Tensor:
    batch, height, width = size
    generator = torch.Generator().manual_seed(0)
    if labels:
        shape = (batch, height, width, 3)
        return torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return torch.rand(batch, 3, height, width, generator=generator)


@torch.no_grad()
def _checked(path: Path, model: nn.Module, labels: bool) -> Difference:
    """Loads the file and compares."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences, same, pixels = [], 0, 0
    for size in _CHECKED:
        image = _example(size, labels)
        expected = model(image).numpy()
        (found,) = session.run(None, {IMAGE: image.numpy()})
        if found.shape != expected.shape:
            raise ValueError(
                f"model: expected a result {list(expected.shape)} of ONNX Runtime for an image of "
                f"{size[1]}x{size[2]}, got {list(found.shape)}"
            )
        if not labels:
            differences.append(np.abs(found - expected).max() / np.ptp(expected))
            found, expected = found.argmax(1), expected.argmax(1)
        same += int((found == expected).sum())
        pixels += found.size
    # Unlike Python's max, NumPy's keeps a NaN.
    return Difference(None if labels else float(np.max(differences)), same / pixels)
