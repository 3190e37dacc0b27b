"""Every op of inference by the table, in ONNX Runtime, at sizes that were not traced."""

from __future__ import annotations

import functools
import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import scrn_ops
from scrn_ops._core import fake

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import scrn_ops.onnx  # noqa: E402

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


class Call(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Any:
        return self.function(*args)


@torch.no_grad()
def session(module: nn.Module, args: tuple[Tensor, ...], grid_sample: str = "native") -> Any:
    """All but the channels is dynamic where the example's is above 1."""
    widths = {4: 1, 3: 2}  # the dimension of the channels, by rank
    shapes = tuple(
        {d: Dim.DYNAMIC for d, n in enumerate(x.shape) if d != widths.get(x.dim()) and n > 1}
        for x in args
    )
    program = torch.onnx.export(
        module.eval(), args, dynamo=True, opset_version=18, verbose=False,
        dynamic_shapes=(shapes,) if isinstance(module, Call) else shapes,
        custom_translation_table=scrn_ops.onnx.translation_table(grid_sample),
    )  # fmt: skip
    model = program.model_proto
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert {(each.domain, each.version) for each in model.opset_import} == {("", 18)}
    names = {node.op_type for node in model.graph.node}
    if grid_sample == "gather":
        assert "GridSample" not in names
    return onnxruntime.InferenceSession(model.SerializeToString())


def run(ready: Any, args: tuple[Tensor, ...]) -> list[np.ndarray]:
    feed = {i.name: x.numpy() for i, x in zip(ready.get_inputs(), args, strict=True)}
    found: list[np.ndarray] = ready.run(None, feed)
    return found


randn = partial(torch.randn, generator=torch.Generator().manual_seed(0))


def refined(batch: int, low: tuple[int, int], high: tuple[int, int]) -> tuple[Tensor, ...]:
    """low, offset, mask and skip; some offsets lead out of the map."""
    return (
        randn(batch, 4, *low),
        3 * randn(batch, 2, *high),
        randn(batch, 9, *high),
        randn(batch, 4, *high),
    )


def attended(batch: int, n: int, m: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    query, key = randn(batch, n, 6), randn(batch, m, 6)
    return query, key, randn(batch, m), randn(batch, m, 5).to(dtype)


def maps(*sizes: tuple[int, int, int]) -> list[tuple[Tensor, ...]]:
    return [(randn(batch, 6, height, width),) for batch, height, width in sizes]


@functools.cache
def weights(*shape: int) -> Tensor:
    return torch.randn(6, *shape, generator=torch.Generator().manual_seed(sum(shape)))


SIZES = [(2, (5, 6), (11, 13)), (1, (4, 7), (9, 15)), (3, (7, 8), (7, 8)), (2, (1, 1), (1, 1))]
REFINED = [refined(*size) for size in SIZES]
SAMPLED = [args[:2] for args in (*REFINED, refined(3, (7, 8), (1, 3)))]
SAMPLED += [
    (input, torch.where(offset > 1, far, offset))
    for far in (1e30, float("-inf"))
    for input, offset in SAMPLED[:1]
]
STRIPS = [(weights(1, 1, n), weights(1, n, 1)) for n in (7, 11, 21)]
CASES: dict[str, tuple[Callable[..., Any], list[tuple[Tensor, ...]]]] = {
    "aggregate_offsets": (scrn_ops.aggregate_offsets, [args[1:3] for args in REFINED]),
    "offset_sample": (scrn_ops.offset_sample, SAMPLED),
    "offset_sample, corners not aligned": (
        partial(scrn_ops.offset_sample, align_corners=False),
        SAMPLED,
    ),
    "semantic_refine": (partial(scrn_ops.semantic_refine, mask_is_logits=True), REFINED),
    "semantic_refine, corners aligned, no skip": (
        partial(scrn_ops.semantic_refine, align_corners=True),
        [args[:3] for args in REFINED],
    ),
    "whitened_attention": (
        partial(scrn_ops.whitened_attention, scale=0.3),
        [attended(2, 12, 15), attended(1, 33, 7)],
    ),
    "upsampled_argmax": (
        lambda x: scrn_ops.upsampled_argmax(x, (4 * x.shape[2] - 3, 4 * x.shape[3] - 1)),
        maps((2, 9, 11), (1, 13, 8)),
    ),
    "upsampled_argmax, with confidence": (
        lambda x: scrn_ops.upsampled_argmax(
            x, (x.shape[2], 2 * x.shape[3]), dtype=torch.uint8, with_confidence=True,
            align_corners=True,
        ),
        maps((2, 9, 11), (1, 13, 8)),
    ),
    "upsampled_logits": (
        lambda x: scrn_ops.upsampled_logits(x, (4 * x.shape[2] - 3, x.shape[3] // 2)),
        maps((2, 9, 11), (1, 13, 8)),
    ),
    "multi_scale_depthwise": (
        lambda x: scrn_ops.multi_scale_depthwise(
            x, weights(1, 5, 5), weights(),
            [row for row, _ in STRIPS], [None, weights(), weights()],
            [column for _, column in STRIPS], [weights(), None, weights()],
        ),
        maps((2, 20, 30), (1, 9, 31)),
    ),
    "large_kernel_depthwise": (
        lambda x: scrn_ops.large_kernel_depthwise(
            x, weights(1, 5, 5), weights(), weights(1, 7, 7), None, dilation=2
        ),
        maps((2, 20, 30), (1, 9, 31)),
    ),
    "depthwise_gelu": (
        lambda x: scrn_ops.depthwise_gelu(x, weights(1, 3, 3), weights()),
        maps((2, 20, 30), (1, 9, 31)),
    ),
    "conv3x3": (
        lambda x: scrn_ops.conv3x3(x, weights(6, 3, 3), weights(), minimum=-0.5, maximum=3),
        maps((2, 20, 30), (1, 9, 31)),
    ),
    "conv3x3, no bias, no bounds": (
        lambda x: scrn_ops.conv3x3(x, weights(6, 3, 3)),
        maps((2, 20, 30)),
    ),
}  # fmt: skip
SAMPLING = [name for name in CASES if name.startswith(("offset_sample", "semantic_refine"))]


@pytest.mark.parametrize(
    ("name", "grid_sample"),
    [(name, "native") for name in CASES] + [(name, "gather") for name in SAMPLING],
)
def test_an_op_is_what_the_kernel_computes(name: str, grid_sample: str) -> None:
    function, cases = CASES[name]
    function(*cases[0])  # makes the weights, which a trace would record
    ready = session(Call(function), cases[0], grid_sample)
    for args in cases:
        expected = function(*args)
        expected = expected if isinstance(expected, tuple) else (expected,)
        found = run(ready, args)
        assert len(found) == len(expected)
        for each, other in zip(found, expected, strict=True):
            assert each.dtype == other.numpy().dtype
            np.testing.assert_allclose(each, other.numpy(), rtol=1e-4, atol=1e-4)


def test_every_operator_of_inference_is_in_the_table() -> None:
    names = {str(op).removeprefix("scrn_ops.").removesuffix(".default")
             for op in scrn_ops.onnx.translation_table()}  # fmt: skip
    schemas = {
        each.name.removeprefix("scrn_ops::")
        for each in torch._C._jit_get_all_schemas()
        if each.name.startswith("scrn_ops::")
    }
    training = {name for name in schemas if name.endswith("_backward")}
    # An operator that overwrites its argument is not called while exporting.
    assert schemas - training - {"upsampled_cross_entropy", "depthwise_gelu_out"} == names


def test_points_that_are_not_finite_are_outside_by_gather() -> None:
    input, offset = torch.randn(1, 4, 5, 6), torch.zeros(1, 2, 5, 6)
    ready = session(Call(scrn_ops.offset_sample), (input, offset.clone()), "gather")
    offset[0, :, 0] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 3e9])
    np.testing.assert_array_equal(
        run(ready, (input, offset))[0], scrn_ops.offset_sample(input, offset).numpy()
    )


def test_half_types_are_computed_in_float32() -> None:
    args = tuple(x.half() for x in refined(1, (5, 6), (11, 13)))
    function = partial(scrn_ops.semantic_refine, mask_is_logits=True)
    (found,) = run(session(Call(function), args), args)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, function(*args).numpy(), rtol=2e-3, atol=2e-3)


class Anothers(nn.Module):
    """The timm example, with a module for each of the ops that it does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.fpn = runpy.run_path(str(EXAMPLES / "timm_fpn.py"))["FPN"]("test_resnet", 6, 16)
        self.attention = scrn_ops.DisentangledNonLocal(6, 4, 6)
        self.flow = nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        logits = self.fpn(image)
        return scrn_ops.offset_sample(self.attention(logits), self.flow(logits))


def test_a_model_of_ones_own() -> None:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    model = Anothers().eval()
    for name, parameter in model.named_parameters():
        if ".offset.3." in name:
            nn.init.normal_(parameter, std=0.5)
    ready = session(model, (torch.randn(2, 3, 96, 160),), "native")
    for size in ((1, 3, 97, 131), (3, 3, 64, 75)):
        image = torch.randn(size)
        with torch.no_grad():
            expected = model(image).numpy()
        np.testing.assert_allclose(run(ready, (image,))[0], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("exported", [False, True], ids=["module", "exported program"])
def test_without_the_table_the_message_names_it(
    exported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "_translated", False)
    model: Any = Call(partial(scrn_ops.offset_sample, align_corners=False)).eval()
    args = SAMPLED[0]
    if exported:
        model = torch.export.export(model, args)
    with pytest.raises(
        torch.onnx.OnnxExporterError, match=r"scrn_ops\.onnx\.translation_table\(\)"
    ):
        torch.onnx.export(model, args, dynamo=True, verbose=False)


def test_an_unknown_way_to_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="grid_sample: expected 'native' or 'gather', got 'gathr'"):
        scrn_ops.onnx.translation_table("gathr")
