"""The operators as torch sees them: schemas, fake kernels, autograd, FLOPs."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

import scrn_ops
from scrn_ops import autograd

from ..common.maps import DENSE_LAYOUTS, DTYPES, F16, F32, F64, LAYOUTS, leaf
from .cases import Size, refine_inputs

ops = torch.ops.scrn_ops

# Exported programs store these: a change breaks them.
SCHEMAS = """\
scrn_ops::aggregate_offsets(Tensor offset, Tensor mask, bool mask_is_logits=False) -> Tensor
scrn_ops::aggregate_offsets_backward(Tensor grad, Tensor offset, Tensor mask, \
bool mask_is_logits, bool need_offset, bool need_mask) -> (Tensor grad_offset, Tensor grad_mask)
scrn_ops::offset_sample(Tensor input, Tensor offset, bool align_corners=True) -> Tensor
scrn_ops::offset_sample_backward(Tensor grad, Tensor input, Tensor offset, bool align_corners, \
bool need_input, bool need_offset, bool deterministic) -> (Tensor grad_input, Tensor grad_offset)
scrn_ops::semantic_refine(Tensor low, Tensor offset, Tensor mask, Tensor? skip=None, \
bool mask_is_logits=False, bool align_corners=False) -> (Tensor output, Tensor aggregated)
scrn_ops::semantic_refine_backward(Tensor grad, Tensor low, Tensor offset, Tensor mask, \
Tensor aggregated, bool mask_is_logits, bool align_corners, bool need_low, bool need_offset, \
bool need_mask, bool deterministic) -> (Tensor grad_low, Tensor grad_offset, Tensor grad_mask)
"""
NAMES = [line.split("(")[0].split("::")[1] for line in SCHEMAS.splitlines()]


def test_schemas_are_frozen():
    registered = [str(getattr(ops, name).default._schema) for name in NAMES]
    assert "\n".join(registered) + "\n" == SCHEMAS


def arguments(name, device, dtype, layout, *, coordinate_dtype=F32, flags=True, requires_grad=True):
    """Positional arguments; every flag but `deterministic` is `flags`."""
    size = Size(2, 5, (3, 4), (6, 7))
    low, offset, mask, skip = refine_inputs(
        size, dtype, device, layout=layout, coordinate_dtype=coordinate_dtype
    )
    grad = leaf(skip.detach() * 2, dtype, device, layout)
    aggregated = scrn_ops.aggregate_offsets(offset.detach(), mask.detach())
    saved = aggregated.to(F64 if dtype == F64 else F32)
    result = {
        "aggregate_offsets": (offset, mask, flags),
        "aggregate_offsets_backward": (aggregated * 2, offset, mask, flags, flags, flags),
        "offset_sample": (low, offset, flags),
        "offset_sample_backward": (grad, low, offset, flags, flags, flags, False),
        "semantic_refine": (low, offset, mask, skip, flags, flags),
        "semantic_refine_backward": (
            *(grad, low, offset, mask, saved),
            *(flags, flags, flags, flags, flags),
            False,
        ),
    }[name]
    differentiable = requires_grad and not name.endswith("_backward")
    return tuple(
        a.detach().requires_grad_(differentiable) if isinstance(a, torch.Tensor) else a
        for a in result
    )


@pytest.mark.parametrize("flags", [True, False], ids=["all_flags", "no_flags"])
@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_opcheck(device, name, layout, flags):
    opcheck(getattr(ops, name).default, arguments(name, device, F32, layout, flags=flags))


@pytest.mark.parametrize("name", ["offset_sample", "semantic_refine"])
def test_opcheck_without_optional_arguments(device, name):
    low, offset, mask, *_ = arguments("semantic_refine", device, F32, "nchw")
    args = (low, offset) if name == "offset_sample" else (low, offset, mask)
    opcheck(getattr(ops, name).default, args)


def description(result):
    results = result if isinstance(result, tuple) else (result,)
    return [(tuple(t.shape), t.stride(), t.dtype, t.device.type) for t in results]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_fakes_tell_shapes_strides_and_dtypes(device, name, dtype, layout):
    coordinates = [F32, dtype] if layout == "nchw" else [F32]
    for coordinate_dtype, flags in itertools.product(coordinates, [True, False]):
        args = arguments(
            name, device, dtype, layout,
            coordinate_dtype=coordinate_dtype, flags=flags, requires_grad=False,
        )  # fmt: skip
        real = getattr(ops, name)(*args)
        with FakeTensorMode() as mode:
            fakes = [mode.from_tensor(a) if isinstance(a, torch.Tensor) else a for a in args]
            fake = getattr(ops, name)(*fakes)
        assert description(fake) == description(real)


@pytest.mark.parametrize(
    "shape", [(2, 1, 3, 4), (1, 3, 1, 1), (1, 1, 1, 1), (2, 3, 1, 1), (2, 4, 1, 5), (0, 4, 2, 2)]
)
@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
def test_ambiguous_strides(device, shape, layout):
    """Sizes of 1 leave the layout open: torch, the fakes and the kernels must agree."""
    b, _, h, w = shape
    input = leaf(torch.randn(shape), F32, device, layout).detach()
    offset = torch.zeros(b, 2, h, w, device=device)
    real = ops.offset_sample(input, offset)
    with FakeTensorMode() as mode:
        fake = ops.offset_sample(mode.from_tensor(input), mode.from_tensor(offset))
    assert description(fake) == description(real)
    if 1 not in shape and 0 not in shape:
        assert real.stride() == input.stride()
    assert torch.equal(real, input)


@pytest.mark.parametrize("layout", [*DENSE_LAYOUTS, "sliced_nhwc"])
@pytest.mark.parametrize("dtype", [F32, F16], ids=str)
def test_outputs_and_gradients_have_the_layout_of_the_input(device, dtype, layout):
    low, offset, mask, skip = refine_inputs(
        Size(2, 5, (3, 4), (6, 7)), dtype, device, layout=layout
    )
    format = torch.contiguous_format if layout == "nchw" else torch.channels_last
    output, aggregated = ops.semantic_refine(low, offset, mask, skip)
    assert output.is_contiguous(memory_format=format)
    assert aggregated.is_contiguous()
    # An incoming gradient of the other layout changes nothing.
    other = torch.channels_last if layout == "nchw" else torch.contiguous_format
    grad = torch.randn_like(output).contiguous(memory_format=other)
    gradients = torch.autograd.grad(output, (low, offset, mask), grad)
    assert gradients[0].is_contiguous(memory_format=format)
    assert all(g.is_contiguous() for g in gradients[1:])
    assert scrn_ops.offset_sample(low, offset).is_contiguous(memory_format=format)


def test_unwanted_gradients_are_empty(device):
    args = arguments("semantic_refine_backward", device, F32, "nchw", flags=False)
    assert [g.shape for g in ops.semantic_refine_backward(*args)] == [(0,)] * 3


def test_the_functions_and_the_operators_share_one_derivative(device):
    """The public torch.autograd.Function classes, applied as they are."""
    low, offset, mask, skip = refine_inputs(Size(2, 3, (3, 4), (6, 8)), F32, device)
    cases = (
        (autograd.AggregateOffsets, ops.aggregate_offsets, (offset, mask, True)),
        (autograd.OffsetSample, ops.offset_sample, (low, offset, False)),
        (autograd.SemanticRefine, ops.semantic_refine, (low, offset, mask, skip, True, False)),
    )
    for function, operator, args in cases:
        results = []
        for call in (function.apply, operator):
            output = call(*args)
            if isinstance(output, tuple):
                assert not output[1].requires_grad
                output = output[0]
            tensors = [a for a in args if isinstance(a, torch.Tensor)]
            results.append((output, *torch.autograd.grad(output.square().sum(), tensors)))
        for a, b in zip(*results, strict=True):
            assert torch.equal(a, b), function


def test_the_gradient_of_the_skip_is_the_incoming_one(device):
    low, offset, mask, skip = refine_inputs(Size(1, 2, (3, 3), (5, 5)), F32, device)
    output = scrn_ops.semantic_refine(low, offset, mask, skip)
    grad = torch.randn_like(output)
    (gradient,) = torch.autograd.grad(output, skip, grad)
    assert gradient.data_ptr() == grad.data_ptr()


def test_flops_are_counted(device):
    size = Size(2, 5, (3, 4), (6, 8))
    low, offset, mask, skip = refine_inputs(size, F32, device)
    pixels, channels = 2 * 6 * 8, 5
    with FlopCounterMode(display=False) as counter:
        output = scrn_ops.semantic_refine(low, offset, mask, skip, mask_is_logits=True)
    assert counter.get_total_flops() == pixels * (channels * (2 * 9 + 1) + 36 + 36)
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(output.sum(), (low, offset, mask, skip))
    assert counter.get_total_flops() == pixels * (channels * 2 * 9 * 3 + 2 * (36 + 36))
    with FlopCounterMode(display=False) as counter:
        sampled = scrn_ops.offset_sample(low, offset.detach())
        aggregated = scrn_ops.aggregate_offsets(offset, mask.detach())
    assert counter.get_total_flops() == pixels * (channels * 8 + 36)
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(sampled.sum(), (low,))
        torch.autograd.grad(aggregated.sum(), (offset,))
    assert counter.get_total_flops() == pixels * (channels * 8 + 36)


def test_meta_tensors():
    low, offset, mask = (
        torch.empty(2, *s, device="meta") for s in ((4, 3, 3), (2, 6, 6), (9, 6, 6))
    )
    assert scrn_ops.semantic_refine(low, offset, mask).shape == (2, 4, 6, 6)
    assert scrn_ops.offset_sample(low, offset).device.type == "meta"
    assert scrn_ops.aggregate_offsets(offset, mask).shape == (2, 2, 6, 6)


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated, and warns of every check
def test_a_traced_program_calls_the_operators():
    """Also where something is differentiated, which a call does by a node of its own."""
    low, offset, mask, _ = refine_inputs(Size(1, 2, (3, 3), (3, 3)), F32, "cpu")
    for operator, args in (("offset_sample", (low, offset)), ("aggregate_offsets", (offset, mask))):
        traced = torch.jit.trace(getattr(scrn_ops, operator), args)
        assert f"scrn_ops::{operator}(" in str(traced.graph)
