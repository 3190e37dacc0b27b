"""torch.func and higher derivatives: what works, and what says that it does not."""

from __future__ import annotations

import pytest
import torch
import torch.autograd.forward_ad as forward_ad

import scrn_ops
from scrn_ops import autograd

from ..common.maps import F32, F64
from .cases import Size, refine_inputs

SIZE = Size(2, 3, (3, 4), (6, 8))
REFINE = {"mask_is_logits": True, "align_corners": True}


def functions(low, offset, mask, skip):
    """Every op, its arguments."""
    return (
        (lambda *a, **k: scrn_ops.semantic_refine(*a, **REFINE, **k), (low, offset, mask, skip)),
        (scrn_ops.semantic_refine, (low, offset, mask)),
        (lambda *a, **k: scrn_ops.offset_sample(*a, align_corners=False, **k), (low, offset)),
        (scrn_ops.aggregate_offsets, (offset, mask)),
    )


def operators(low, offset, mask, skip):
    ops = torch.ops.scrn_ops
    return (
        (lambda *a: ops.semantic_refine(*a, True, True)[0], (low, offset, mask, skip)),
        (lambda *a: ops.offset_sample(*a, False), (low, offset)),
        (ops.aggregate_offsets, (offset, mask)),
    )


def detached_inputs(device, dtype=F32):
    return [t.detach() for t in refine_inputs(SIZE, dtype, device, coordinate_dtype=dtype)]


@pytest.mark.parametrize("calls", [functions, operators])
def test_vmap(device, calls):
    """Over all arguments, over some, over any dimension, and twice."""
    inputs = [torch.stack([t, t * 0.9, t * 1.1]) for t in detached_inputs(device)]
    for op, args in calls(*inputs):
        expected = torch.stack([op(*(a[i] for a in args)) for i in range(3)])
        torch.testing.assert_close(torch.vmap(op)(*args), expected)

        moved = args[0].movedim(0, 3)
        torch.testing.assert_close(
            torch.vmap(op, in_dims=(3, *[0] * (len(args) - 1)))(moved, *args[1:]), expected
        )

        some = [args[0], *(a[1] for a in args[1:])]
        in_dims = (0, *[None] * (len(args) - 1))
        expected = torch.stack([op(args[0][i], *some[1:]) for i in range(3)])
        torch.testing.assert_close(torch.vmap(op, in_dims=in_dims)(*some), expected)

        twice = [torch.stack([a, a * 0.5]) for a in args]
        expected = torch.stack([torch.vmap(op)(*(a[i] for a in twice)) for i in range(2)])
        torch.testing.assert_close(torch.vmap(torch.vmap(op))(*twice), expected)


@pytest.mark.parametrize("calls", [functions, operators])
def test_vmap_over_nothing(device, calls):
    """A mapped dimension of size 0, as other ops of torch take it, and no images in a sample."""
    inputs = detached_inputs(device)
    for op, args in calls(*inputs):
        shape = op(*args).shape
        none = [a.new_empty(0, *a.shape) for a in args]
        assert torch.vmap(op)(*none).shape == (0, *shape)
        last = [a.new_empty(*a.shape, 0) for a in args]
        assert torch.vmap(op, in_dims=-1)(*last).shape == (0, *shape)
        some = torch.vmap(op, in_dims=(*[None] * (len(args) - 1), 0))(*args[:-1], none[-1])
        assert some.shape == (0, *shape)
        twice = [a.new_empty(3, 0, *a.shape) for a in args]
        assert torch.vmap(torch.vmap(op))(*twice).shape == (3, 0, *shape)
        no_images = [a.new_empty(3, 0, *a.shape[1:]) for a in args]
        assert torch.vmap(op)(*no_images).shape == (3, 0, *shape[1:])


def test_gradients_over_nothing(device):
    for op, args in functions(*detached_inputs(device)):
        gradient = torch.func.grad(lambda *a, op=op: op(*a).sum(), tuple(range(len(args))))
        none = [a.new_empty(0, *a.shape) for a in args]
        for got, want in zip(torch.vmap(gradient)(*none), none, strict=True):
            assert got.shape == want.shape


def test_vmap_keeps_the_layout(device):
    low = torch.randn(3, 2, 5, 4, 4, device=device)
    low = low.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    offset = torch.randn(3, 2, 2, 4, 4, device=device)
    output = torch.vmap(scrn_ops.offset_sample)(low, offset)
    assert output[0].is_contiguous(memory_format=torch.channels_last)


def test_gradients_by_torch_func(device):
    """grad, vjp, jacrev, and the gradient of each element of a batch by vmap."""
    inputs = detached_inputs(device, F64)
    for op, args in functions(*inputs):
        everything = tuple(range(len(args)))

        def loss(*a, op=op):
            return op(*a).square().sum()

        leaves = [a.clone().requires_grad_() for a in args]
        expected = torch.autograd.grad(loss(*leaves), leaves)
        for got, want in zip(torch.func.grad(loss, everything)(*args), expected, strict=True):
            torch.testing.assert_close(got, want)
        _, pullback = torch.func.vjp(loss, *args)
        for got, want in zip(pullback(torch.ones_like(loss(*args))), expected, strict=True):
            torch.testing.assert_close(got, want)

        batches = [torch.stack([a, a * 0.9]) for a in args]
        each = torch.vmap(torch.func.grad(loss, everything))(*batches)
        for i in range(2):
            one = torch.func.grad(loss, everything)(*(b[i] for b in batches))
            for got, want in zip(each, one, strict=True):
                torch.testing.assert_close(got[i], want)

        def total(*a, op=op):
            return op(*a).sum((1, 2, 3))

        jacobian = torch.func.jacrev(total)(*args)
        expected = torch.autograd.functional.jacobian(lambda x, *a: total(x, *a), tuple(args))[0]
        torch.testing.assert_close(jacobian, expected)


def forward_mode_calls():
    def dual(op, args, requires_grad):
        with forward_ad.dual_level():
            primal = args[0].clone().requires_grad_(requires_grad)
            return op(forward_ad.make_dual(primal, torch.ones_like(args[0])), *args[1:])

    return {
        "dual": lambda op, args: dual(op, args, False),
        "dual_with_grad": lambda op, args: dual(op, args, True),
        "func_jvp": lambda op, args: torch.func.jvp(
            lambda x: op(x, *args[1:]), args[:1], (torch.ones_like(args[0]),)
        ),
        "jacfwd": lambda op, args: torch.func.jacfwd(op)(*args),
        "hessian": lambda op, args: torch.func.hessian(lambda *a: op(*a).sum())(*args),
    }


@pytest.mark.parametrize("how", forward_mode_calls())
def test_forward_mode_is_refused(device, how):
    """torch would drop the tangents of an operator without a word."""
    inputs = detached_inputs(device)
    call = forward_mode_calls()[how]
    cases = functions(*inputs)
    if how != "hessian":  # there torch.func differentiates backward first
        cases += operators(*inputs)
    for op, args in cases:
        with pytest.raises(NotImplementedError, match=r'forward-mode.*backend="reference"'):
            call(op, args)


def test_forward_mode_of_the_backward_is_refused(device):
    leaves = [t.requires_grad_() for t in detached_inputs(device)]
    for op, args in functions(*leaves):
        output = op(*args)
        with forward_ad.dual_level():
            grad = forward_ad.make_dual(torch.ones_like(output), torch.ones_like(output))
            with pytest.raises(NotImplementedError, match=r'forward-mode.*backend="reference"'):
                torch.autograd.grad(output, args[:2], grad)


@pytest.mark.parametrize("calls", [functions, operators])
def test_second_derivatives_are_refused(device, calls):
    leaves = [t.requires_grad_() for t in detached_inputs(device)]
    for op, args in calls(*leaves):
        # The first derivative with a graph is fine, differentiating it is not.
        first = torch.autograd.grad(op(*args).square().sum(), args[:2], create_graph=True)
        assert all(g.requires_grad for g in first)
        with pytest.raises(NotImplementedError, match=r'again.*backend="reference"'):
            torch.autograd.grad(sum(g.sum() for g in first), args[:2])

    def loss(x):
        return scrn_ops.offset_sample(x, leaves[1].detach()).square().sum()

    with pytest.raises(NotImplementedError, match='backend="reference"'):
        torch.func.grad(lambda x: torch.func.grad(loss)(x).sum())(leaves[0].detach())


def test_the_reference_can_do_all_of_it(device):
    inputs = detached_inputs(device, F64)
    tangent = (torch.ones_like(inputs[0]),)
    for op, args in functions(*inputs):
        if args[0] is not inputs[0]:
            continue

        def loss(x, op=op, args=args):
            return op(x, *args[1:], backend="reference").square().sum()

        _, forward = torch.func.jvp(loss, args[:1], tangent)
        torch.testing.assert_close(forward, torch.func.grad(loss)(args[0]).sum())
        second = torch.func.grad(lambda x, loss=loss: torch.func.grad(loss)(x).sum())(args[0])
        assert second.abs().sum() > 0


def test_functions_take_the_same_path_as_operators_under_torch_func(device):
    """The classes themselves can be mapped and transformed."""
    low, offset, _, _ = detached_inputs(device)
    stacked = torch.stack([low, low * 2])
    output = torch.vmap(lambda x: autograd.OffsetSample.apply(x, offset, True))(stacked)
    torch.testing.assert_close(output[1], scrn_ops.offset_sample(low * 2, offset))


class _Scaled(torch.overrides.TorchFunctionMode):
    """Multiplies what the operators return by a tensor that is learned."""

    def __init__(self):
        super().__init__()
        self.factor = torch.ones((), requires_grad=True)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if not str(function).startswith("scrn_ops."):
            return result
        return (
            (result[0] * self.factor, *result[1:])
            if type(result) is tuple
            else result * self.factor
        )


def test_what_others_do_around_an_operator_is_differentiated(device):
    """An operator none of whose inputs needs a gradient leaves autograd out, but not for them."""
    for op, args in functions(*detached_inputs(device)):
        with _Scaled() as mode:
            output = op(*args)
        (gradient,) = torch.autograd.grad(output.sum(), mode.factor)
        torch.testing.assert_close(gradient, op(*args).sum().cpu())
