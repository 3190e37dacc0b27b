"""torch.compile and torch.export: whole graphs, dynamic shapes, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters

import scrn_ops

from ..common.maps import BF16, F32
from .cases import Size, refine_inputs

# No size equals another or a number of channels that is fixed, which the compiler would take
# for the same variable.
SIZES = (Size(4, 5, (3, 7), (6, 14)), Size(6, 3, (4, 5), (11, 13)), Size(8, 12, (4, 5), (6, 7)))


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()


def chain(low, offset, mask, skip):
    aligned = scrn_ops.semantic_refine(low * 2, offset, mask, skip, mask_is_logits=True).relu()
    warped = scrn_ops.offset_sample(low, offset, align_corners=False)
    return aligned * warped + scrn_ops.aggregate_offsets(offset, mask).mean()


def gradients(function, inputs):
    output = function(*inputs)
    grad = torch.linspace(-1, 1, output.numel(), device=output.device).view_as(output)
    return [output.detach(), *torch.autograd.grad(output, inputs, grad.to(output.dtype))]


@pytest.mark.parametrize(
    ("layout", "backend"), [("nchw", "aot_eager"), ("nhwc", "aot_eager"), ("nhwc", "inductor")]
)
def test_one_graph_for_many_shapes(device, layout, backend):
    compiled = torch.compile(chain, fullgraph=True, dynamic=True, backend=backend)
    counters["stats"].clear()
    for size in SIZES:
        inputs = refine_inputs(size, F32, device, layout=layout)
        for got, expected in zip(
            gradients(compiled, inputs), gradients(chain, inputs), strict=True
        ):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
            assert got.stride() == expected.stride()
    assert counters["stats"]["unique_graphs"] == 1, "a new shape compiled again"


def test_inference(device):
    inputs = [t.detach() for t in refine_inputs(SIZES[0], F32, device)]
    compiled = torch.compile(chain, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch.inference_mode():
        torch.testing.assert_close(compiled(*inputs), chain(*inputs))


def test_autocast_inside(device):
    def cast(low, offset, mask, skip):
        with torch.autocast(device, dtype=BF16):
            return scrn_ops.semantic_refine(low, offset, mask, skip)

    inputs = refine_inputs(SIZES[0], F32, device)
    compiled = gradients(torch.compile(cast, fullgraph=True, backend="aot_eager"), inputs)
    assert compiled[0].dtype == BF16
    for got, expected in zip(compiled, gradients(cast, inputs), strict=True):
        assert got.dtype == expected.dtype
        torch.testing.assert_close(got, expected)


def test_the_graph_holds_the_operator_alone(device):
    inputs = refine_inputs(SIZES[0], F32, device)

    class Model(torch.nn.Module):
        def forward(self, low, offset, mask, skip):
            return scrn_ops.semantic_refine(low, offset, mask, skip)

    program = torch.export.export(Model(), tuple(t.detach() for t in inputs))
    calls = [n.target for n in program.graph.nodes if n.op == "call_function"]
    assert [c for c in calls if "getitem" not in str(c)] == [
        torch.ops.scrn_ops.semantic_refine.default
    ]
    torch.testing.assert_close(program.module()(*inputs), Model()(*inputs))


def test_errors_are_raised_while_tracing(device):
    low, offset, mask, skip = refine_inputs(SIZES[0], F32, device)
    compiled = torch.compile(chain, backend="eager")
    with pytest.raises(ValueError, match="skip: expected low's 5 channels"):
        compiled(low, offset, mask, skip[:, :2])


def test_the_module_in_one_graph(device):
    module = scrn_ops.SemanticRefinement(6, 6, compress=4, hidden=4).to(device)
    torch.nn.init.normal_(module.offset[-1].weight, std=0.3)
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((4, 3, 5), (3, 4, 7)):
        batch, h, w = shape
        low = torch.randn(batch, 6, h, w, device=device)
        high = torch.randn(batch, 6, 2 * h, 2 * w, device=device)
        parameters = list(module.parameters())
        results = []
        for call in (module, compiled):
            output = call(low, high)
            results.append([output, *torch.autograd.grad(output.square().sum(), parameters)])
        for expected, got in zip(*results, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
