"""The operators as torch sees them: schemas, fake kernels, autograd, FLOPs."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

from ..common.maps import BF16, DENSE_LAYOUTS, DTYPES, F16, F32, LAYOUTS, leaf
from .cases import GELU, LKA, MSCA, UNITS

ops = torch.ops.scrn_ops

# Exported programs store these: a change breaks them.
SCHEMAS = """\
scrn_ops::multi_scale_depthwise(Tensor input, Tensor weights, int n0, int n1, int n2) -> Tensor
scrn_ops::multi_scale_depthwise_backward(Tensor grad, Tensor input, Tensor weights, int n0, \
int n1, int n2, bool need_input, bool need_weights) -> (Tensor grad_input, Tensor grad_weights)
scrn_ops::large_kernel_depthwise(Tensor input, Tensor weights, int dilation) -> Tensor
scrn_ops::large_kernel_depthwise_backward(Tensor grad, Tensor input, Tensor weights, \
int dilation, bool need_input, bool need_weights) -> (Tensor grad_input, Tensor grad_weights)
scrn_ops::depthwise_gelu(Tensor input, Tensor weights, int size) -> Tensor
scrn_ops::depthwise_gelu_out(Tensor input, Tensor weights, int size, Tensor(a!) out) -> ()
scrn_ops::depthwise_gelu_backward(Tensor grad, Tensor input, Tensor weights, int size, \
bool need_input, bool need_weights) -> (Tensor grad_input, Tensor grad_weights)
"""
NAMES = [line.split("(")[0].split("::")[1] for line in SCHEMAS.splitlines()]


def test_schemas_are_frozen():
    registered = [str(getattr(ops, name).default._schema) for name in NAMES]
    assert "\n".join(registered) + "\n" == SCHEMAS


def arguments(name, device, dtype, layout, *, wanted=True, requires_grad=False):
    unit = next(u for u in UNITS if name.startswith(u.name))
    tensors = unit.inputs((2, 5, 6, 7), dtype, device, layout=layout, weight_dtype=dtype)
    input, weights, *sizes = unit.operator_arguments(tensors)
    input = input.detach()
    if name.endswith("_out"):
        return input, weights, *sizes, leaf(input * 2, dtype, device, layout).detach()
    if name.endswith("_backward"):
        grad = leaf(input * 2, dtype, device, layout).detach()
        return grad, input, weights, *sizes, wanted, wanted
    if requires_grad:
        input, weights = input.clone().requires_grad_(), weights.clone().requires_grad_()
    return input, weights, *sizes


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_opcheck(device, name, layout, wanted):
    if not wanted and not name.endswith("_backward"):
        pytest.skip("there is nothing to be wanted")
    args = arguments(name, device, F32, layout, wanted=wanted, requires_grad=True)
    opcheck(getattr(ops, name).default, args)


def description(result):
    results = () if result is None else result if isinstance(result, tuple) else (result,)
    return [(tuple(t.shape), t.stride(), t.dtype, t.device.type) for t in results]


@pytest.mark.parametrize(
    ("layout", "dtype"),
    [*((each, F32) for each in LAYOUTS), *(("nhwc", each) for each in DTYPES[1:])],
    ids=str,
)
@pytest.mark.parametrize("name", NAMES)
def test_fakes_tell_shapes_strides_and_dtypes(device, name, dtype, layout):
    if name.endswith("_out") and layout == "expanded":
        pytest.skip("nothing writes into an expanded tensor")
    for wanted in (True, False):
        args = arguments(name, device, dtype, layout, wanted=wanted)
        real = getattr(ops, name)(*args)
        with FakeTensorMode() as mode:
            fakes = [mode.from_tensor(a) if isinstance(a, torch.Tensor) else a for a in args]
            fake = getattr(ops, name)(*fakes)
        assert description(fake) == description(real)


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_flops(device, unit):
    """As torch counts the convolutions; the gradients of input and weights as much again each
    (torch counts the weights' of a depthwise convolution as many times as there are channels)."""
    tensors = unit.inputs((2, 6, 8, 9), F32, device)
    with FlopCounterMode(display=False) as chain:
        unit(*tensors, backend="eager")
    with FlopCounterMode(display=False) as forward:
        output = unit(*tensors)
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    assert forward.get_total_flops() == chain.get_total_flops()
    assert backward.get_total_flops() == 2 * forward.get_total_flops()
    if unit is GELU:
        with torch.no_grad(), FlopCounterMode(display=False) as forward:
            torch.ops.scrn_ops.depthwise_gelu_out(
                *unit.operator_arguments(tensors), torch.empty_like(tensors[0])
            )
        assert forward.get_total_flops() == 2 * 9 * 2 * 6 * 8 * 9


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_one_map_is_saved(device, unit, layout):
    """The chain of MSCA saves five."""
    tensors = unit.inputs((2, 4, 8, 9), F32, device, layout=layout)
    maps = []

    def pack(tensor):
        if tensor.dim() == 4 and tensor.shape[2:] == (8, 9):
            maps.append(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        unit(*tensors)
    assert set(maps) == {tensors[0].data_ptr()}


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_autocast_casts_the_input_alone(device, unit, dtype):
    tensors = unit.inputs((2, 3, 6, 7), F32, device)
    cast = [tensors[0].detach().to(dtype).requires_grad_(), *tensors[1:]]
    expected = unit(*cast)
    grad = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, cast, grad)
    with torch.autocast(device, dtype=dtype):
        output = unit(*tensors)
        reference = unit(*tensors, backend="reference")
        eager = unit(*tensors, backend="eager")
        by_operator = getattr(ops, unit.name)(*unit.operator_arguments(tensors))
    assert output.dtype == reference.dtype == eager.dtype == by_operator.dtype == dtype
    assert torch.equal(output, expected)
    assert torch.equal(by_operator, expected)
    torch.testing.assert_close(output, reference)
    torch.testing.assert_close(output, eager, rtol=5e-2, atol=1e-1)
    for got, want in zip(torch.autograd.grad(output, tensors, grad), wanted, strict=True):
        assert got.dtype == F32
        assert torch.equal(got, want.float())


@pytest.mark.parametrize("unit", [MSCA, LKA, GELU], ids=str)
def test_ambiguous_strides(device, unit):
    """Sizes of 1 leave the layout open: torch, the fakes and the kernels must agree."""
    for shape in ((2, 1, 3, 4), (1, 3, 1, 1), (2, 3, 1, 1), (2, 4, 1, 5), (0, 4, 2, 2)):
        for layout in DENSE_LAYOUTS:
            args = unit.operator_arguments(unit.inputs(shape, F32, device, layout=layout))
            args = (args[0].detach(), *args[1:])
            real = getattr(ops, unit.name)(*args)
            with FakeTensorMode() as mode:
                fakes = [mode.from_tensor(a) if isinstance(a, torch.Tensor) else a for a in args]
                fake = getattr(ops, unit.name)(*fakes)
            assert description(fake) == description(real)
