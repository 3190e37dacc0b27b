"""The attention as torch sees it: schemas, fakes, autograd, autocast, vmap, compile, FLOPs."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

import scrn_ops
from benchmarks.common.memory import saved
from scrn_ops.attention import autograd, by_products

from ..common.maps import BF16, DTYPES, F16, F32, F64
from .cases import LAYOUTS, Shape, inputs, values_and_gradients

ops = torch.ops.scrn_ops
SHAPE = Shape(2, 7, 9, 16, 24)

# Exported programs store these: a change breaks them.
SCHEMAS = """\
scrn_ops::whitened_attention(Tensor query, Tensor key, Tensor unary, Tensor value, \
float scale=1., bool keep_probabilities=False, str? path=None) -> (Tensor output, \
Tensor log_sum_exp, Tensor shared, Tensor probabilities)
scrn_ops::whitened_attention_backward(Tensor grad, Tensor query, Tensor key, Tensor unary, \
Tensor value, Tensor output, Tensor log_sum_exp, Tensor shared, Tensor probabilities, \
float scale, bool need_query, bool need_key, bool need_unary, bool need_value) \
-> (Tensor grad_query, Tensor grad_key, Tensor grad_unary, Tensor grad_value)
"""


def test_schemas_are_frozen():
    names = [line.split("(")[0].split("::")[1] for line in SCHEMAS.splitlines()]
    registered = [str(getattr(ops, name).default._schema) for name in names]
    assert "\n".join(registered) + "\n" == SCHEMAS


def arguments(name, tensors, keep, needs=(True,) * 4):
    """Positional arguments of the forward or the backward operator."""
    if name == "whitened_attention":
        return (*tensors, 0.7, keep)
    tensors = [t.detach() for t in tensors]
    output, *saved = ops.whitened_attention(*tensors, 0.7, keep)
    return (torch.randn_like(output), *tensors, output, *saved, 0.7, *needs)


NAMES = ("whitened_attention", "whitened_attention_backward")


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_opcheck(name, layout, keep):
    tensors = inputs(SHAPE, F32, "cpu", layout=layout)
    opcheck(getattr(ops, name).default, arguments(name, tensors, keep))


def description(results):
    return [(tuple(t.shape), t.stride(), t.dtype) for t in results]


@pytest.mark.parametrize("shape", [SHAPE, Shape(2, 1, 1, 16, 16), Shape(0, 3, 4, 16, 16)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_fakes_tell_shapes_strides_and_dtypes(name, dtype, layout, shape):
    for keep, needs in ((True, (True,) * 4), (False, (True, False, True, False))):
        tensors = [t.detach() for t in inputs(shape, dtype, "cpu", layout=layout)]
        args = arguments(name, tensors, keep, needs)
        real = getattr(ops, name)(*args)
        with FakeTensorMode() as mode:
            fakes = [mode.from_tensor(a) if isinstance(a, torch.Tensor) else a for a in args]
            fake = getattr(ops, name)(*fakes)
        assert description(fake) == description(real)


def test_meta_tensors():
    tensors = [t.detach().to("meta") for t in inputs(SHAPE, F32, "cpu")]
    assert scrn_ops.whitened_attention(*tensors).shape == (2, 7, 24)


def chain(query, key, unary, value):
    return scrn_ops.whitened_attention(query * 2, key, unary, value, scale=0.3).relu()


@pytest.mark.parametrize(
    ("layout", "backend"),
    [("contiguous", "aot_eager"), ("channel_major", "aot_eager"), ("contiguous", "inductor")],
)
def test_one_graph_for_many_shapes(layout, backend):
    torch._dynamo.reset()
    compiled = torch.compile(chain, fullgraph=True, dynamic=True, backend=backend)
    counters["stats"].clear()
    for shape in (Shape(4, 7, 9, 16, 24), Shape(3, 19, 13, 20, 32), Shape(5, 33, 12, 17, 44)):
        tensors = inputs(shape, F32, "cpu", layout=layout)
        got = values_and_gradients(compiled, tensors)[0]
        for a, b in zip(got, values_and_gradients(chain, tensors)[0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == 1, "a new shape compiled again"


@pytest.mark.parametrize("backend", ["fused", "eager"])
def test_the_scale_of_a_graph(backend):
    """A constant, and numbers that come of sizes."""
    torch._dynamo.reset()

    def call(*tensors, scale):
        width = tensors[1].shape[2]
        op = partial(scrn_ops.whitened_attention, *tensors, backend=backend)
        return op(scale=scale) + op(scale=width) + op(scale=width**-0.5)

    compiled = torch.compile(call, fullgraph=True, dynamic=True, backend="aot_eager")
    for width in (16, 20):
        tensors = inputs(Shape(4, 7, 9, width, 24), F32, "cpu")
        for scale in (0.7, -2):
            torch.testing.assert_close(compiled(*tensors, scale=scale), call(*tensors, scale=scale))


def test_export():
    class Model(torch.nn.Module):
        def forward(self, *tensors):
            return scrn_ops.whitened_attention(*tensors, scale=0.5)

    tensors = tuple(t.detach() for t in inputs(SHAPE, F32, "cpu"))
    program = torch.export.export(Model(), tensors)
    calls = [n.target for n in program.graph.nodes if n.op == "call_function"]
    assert ops.whitened_attention.default in calls
    torch.testing.assert_close(program.module()(*tensors), Model()(*tensors))


@pytest.mark.parametrize("low_precision", [F16, BF16], ids=str)
@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_autocast_casts_the_value(low_precision, backend):
    query, key, unary, value = inputs(SHAPE, F32, "cpu")
    cast = value.detach().to(low_precision).requires_grad_()
    expected = scrn_ops.whitened_attention(query, key, unary, cast, backend=backend)
    grad = torch.randn_like(expected)
    tensors = (query, key, unary, value)
    with torch.autocast("cpu", dtype=low_precision):
        output = scrn_ops.whitened_attention(*tensors, backend=backend)
    assert output.dtype == low_precision
    assert torch.equal(output, expected)
    wanted = torch.autograd.grad(expected, (query, key, unary, cast), grad)
    for got, want in zip(torch.autograd.grad(output, tensors, grad), wanted, strict=True):
        assert got.dtype == F32
        assert torch.equal(got, want.float())


def test_the_operator_and_the_function_under_autocast():
    tensors = inputs(SHAPE, F32, "cpu")
    with torch.autocast("cpu", dtype=BF16):
        expected = scrn_ops.whitened_attention(*tensors, scale=0.7)
        outputs = [
            ops.whitened_attention(*tensors, 0.7, True)[0],
            autograd.WhitenedAttention.apply(*tensors, 0.7, True, None)[0],
        ]
    wanted = torch.autograd.grad(expected.float().sum(), tensors)
    for output in outputs:
        assert torch.equal(output, expected)
        for got, want in zip(
            torch.autograd.grad(output.float().sum(), tensors), wanted, strict=True
        ):
            torch.testing.assert_close(got, want)


@pytest.mark.parametrize("keep", [True, False])
def test_gradients_taken_under_autocast(keep, monkeypatch):
    """The context must not reach the products of the backward."""
    if not keep:
        monkeypatch.setattr(by_products, "KEPT_BYTES", -1)
    tensors = inputs(SHAPE, F32, "cpu")
    with torch.autocast("cpu", dtype=BF16):
        output = scrn_ops.whitened_attention(*tensors)
        inside = torch.autograd.grad(output.float().sum(), tensors, retain_graph=True)
    outside = torch.autograd.grad(output.float().sum(), tensors)
    for got, want in zip(inside, outside, strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("keep", [True, False])
def test_torch_func(keep, monkeypatch):
    """vmap over all and over some arguments; grad, vjp, and gradients of a batch."""
    if not keep:
        monkeypatch.setattr(by_products, "KEPT_BYTES", -1)
    tensors = [t.detach() for t in inputs(SHAPE, F64, "cpu")]
    batches = [torch.stack([t, t * 0.9, t * 1.1]) for t in tensors]
    op = scrn_ops.whitened_attention
    expected = torch.stack([op(*(b[i] for b in batches)) for i in range(3)])
    torch.testing.assert_close(torch.vmap(op)(*batches), expected)
    by_operator = torch.vmap(lambda *a: ops.whitened_attention(*a, 1.0, keep)[0])
    torch.testing.assert_close(by_operator(*batches), expected)
    some = torch.vmap(op, in_dims=(2, None, None, None))(batches[0].movedim(0, 2), *tensors[1:])
    torch.testing.assert_close(some, torch.stack([op(b, *tensors[1:]) for b in batches[0]]))

    def loss(*a):
        return op(*a).square().sum()

    everything = (0, 1, 2, 3)
    leaves = [t.clone().requires_grad_() for t in tensors]
    gradients = torch.autograd.grad(loss(*leaves), leaves)
    for got, want in zip(torch.func.grad(loss, everything)(*tensors), gradients, strict=True):
        torch.testing.assert_close(got, want)
    each = torch.vmap(torch.func.grad(loss, everything))(*batches)
    one = torch.func.grad(loss, everything)(*(b[1] for b in batches))
    for got, want in zip(each, one, strict=True):
        torch.testing.assert_close(got[1], want)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_what_is_kept_of_mapped_samples(samples, monkeypatch):
    """No more than of a batch of their number: here what two of them need."""
    forward, backward, seen = by_products.forward, by_products.backward, []

    def spy_forward(*args):
        results = forward(*args)
        seen.append(tuple(results[2].shape))
        return results

    def spy_backward(*args):
        seen.append(tuple(args[5].shape))
        return backward(*args)

    tensors = [t.detach() for t in inputs(SHAPE, F64, "cpu")]
    batches = [torch.stack([t * (1 + i) for i in range(samples)]) for t in tensors]

    def loss(*a):
        return scrn_ops.whitened_attention(*a).square().sum()

    def rows(query):
        return scrn_ops.whitened_attention(query, *tensors[1:])[0, 0, :samples]

    gradients = torch.func.grad(loss, (0, 1, 2, 3))
    expected = [gradients(*(b[i] for b in batches)) for i in range(samples)]
    jacobian = torch.func.jacrev(rows)(tensors[0])
    monkeypatch.setattr(by_products, "forward", spy_forward)
    monkeypatch.setattr(by_products, "backward", spy_backward)
    monkeypatch.setattr(by_products, "KEPT_BYTES", 2 * (2 * 7 * 9) * 8)
    one, kept = (2, 7, 9), (2 * samples, 7, 9) if samples <= 2 else (0,)

    for got, want in zip(torch.vmap(gradients)(*batches), zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(got, torch.stack(want))
    twice = [b.unsqueeze(1) for b in batches]
    torch.vmap(torch.vmap(gradients))(*twice)
    torch.vmap(lambda *a: ops.whitened_attention(*a, 1.0, True)[0])(*batches)
    assert seen == [kept] * 5
    seen.clear()
    torch.testing.assert_close(torch.func.jacrev(rows)(tensors[0]), jacobian)
    assert seen == [one, kept]


def test_vmap_over_nothing():
    tensors = [t.detach().new_empty(0, *t.shape) for t in inputs(SHAPE, F32, "cpu")]
    op = scrn_ops.whitened_attention
    for call in (op, lambda *a: ops.whitened_attention(*a, 1.0, True)[0]):
        assert torch.vmap(call)(*tensors).shape == (0, 2, 7, 24)
    gradients = torch.func.grad(lambda *a: op(*a).sum(), (0, 1, 2, 3))
    for got, want in zip(torch.vmap(gradients)(*tensors), tensors, strict=True):
        assert got.shape == want.shape


def test_higher_derivatives_are_refused():
    tensors = inputs(SHAPE, F32, "cpu")
    for op in (scrn_ops.whitened_attention, lambda *a: ops.whitened_attention(*a)[0]):
        (gradient,) = torch.autograd.grad(op(*tensors).sum(), tensors[0], create_graph=True)
        with pytest.raises(NotImplementedError, match=r'whitened_attention.*"reference"'):
            torch.autograd.grad(gradient.sum(), tensors[0])
        plain = [t.detach() for t in tensors]
        with pytest.raises(NotImplementedError, match=r'forward-mode.*"reference"'):
            torch.func.jvp(op, tuple(plain), tuple(torch.ones_like(t) for t in plain))


def test_flops_are_counted(monkeypatch):
    tensors = inputs(SHAPE, F32, "cpu")
    b, n, m, dk, dv = SHAPE
    for kept in (True, False):
        if not kept:
            monkeypatch.setattr(by_products, "KEPT_BYTES", -1)
        with FlopCounterMode(display=False) as counter:
            output = scrn_ops.whitened_attention(*tensors)
        assert counter.get_total_flops() == 2 * b * m * (n * (dk + dv) + dv)
        with FlopCounterMode(display=False) as counter:
            torch.autograd.grad(output.sum(), tensors)
        products = 2 * dk + 2 * dv + (0 if kept else dk)
        assert counter.get_total_flops() == 2 * b * m * (n * products + 2 * dv)


def test_what_is_kept_for_the_backward():
    """The inputs, Dv numbers per image and the probabilities; without need nothing."""
    tensors = inputs(Shape(2, 40, 50, 16, 24), F32, "cpu")
    own = sum(t.untyped_storage().nbytes() for t in tensors)
    kept = saved(lambda: scrn_ops.whitened_attention(*tensors))
    assert sum(kept.values()) == own + 4 * (2 * 24 + 2 * 40 * 50)
    with torch.no_grad():
        assert not saved(lambda: scrn_ops.whitened_attention(*tensors))


def spoiled():
    query, key, unary, value = (t.detach() for t in inputs(SHAPE, F32, "cpu"))
    good = {"query": query, "key": key, "unary": unary, "value": value}
    zeros = torch.zeros
    for name, bad, error, message in (
        ("query", query[0], ValueError, r"query: expected 3 dimensions \[B, N, Dk\], got 2"),
        ("key", key[0], ValueError, r"key: expected 3 dimensions \[B, M, Dk\]"),
        ("unary", value, ValueError, r"unary: expected 2 dimensions \[B, M\], got 3"),
        ("value", unary, ValueError, r"value: expected 3 dimensions \[B, M, Dv\]"),
        ("query", zeros(2, 7, 15), ValueError, r"query: expected key's Dk of 16, got \[2, 7, 15"),
        ("key", zeros(2, 8, 16), ValueError, "key: expected value's M of 9"),
        ("unary", zeros(2, 8), ValueError, "unary: expected value's M of 9"),
        ("query", zeros(3, 7, 16), ValueError, "query: expected value's batch of 2"),
        ("unary", zeros(1, 9), ValueError, "unary: expected value's batch of 2"),
        ("query", zeros(2, 0, 16), ValueError, "query: expected .* at least 1"),
        ("value", zeros(2, 9, 0), ValueError, "value: expected .* at least 1"),
        ("query", query.half(), TypeError, "query: .* float32 or value's torch.float32"),
        ("unary", unary.double(), TypeError, "unary: expected dtype float32"),
        ("value", value.half(), None, ""),
        ("value", value.int(), TypeError, "value: expected dtype .*int32"),
        ("key", key.to("meta"), ValueError, "key: expected value's device cpu, got meta"),
        ("value", value.to_sparse(), NotImplementedError, "value: expected a dense tensor"),
        ("unary", None, TypeError, "unary: expected a Tensor, got NoneType"),
        ("backend", "triton", ValueError, "backend: expected None, 'fused'"),
        ("scale", "a", TypeError, "scale: expected a number, got str"),
        ("scale", None, TypeError, "scale: expected a number, got NoneType"),
        ("scale", True, TypeError, "scale: expected a number, got bool"),
        ("scale", zeros(()), TypeError, "scale: expected a number, got Tensor; a learned scale"),
        ("scale", torch.nn.Parameter(zeros(1)), TypeError, "got Parameter; .* into query"),
    ):
        yield pytest.param(good | {name: bad}, error, message, id=f"{name}-{message[:30]}")


@pytest.mark.parametrize(("call", "error", "message"), list(spoiled()))
def test_bad_input(call, error, message):
    if error is None:
        assert scrn_ops.whitened_attention(**call).dtype == F16
        return
    with pytest.raises(error, match=message):
        scrn_ops.whitened_attention(**call)
    if "backend" in call:
        return
    for backend in ("reference", "eager"):
        with pytest.raises(error, match=message):
            scrn_ops.whitened_attention(**call, backend=backend)
    if "scale" not in call:
        with pytest.raises(error, match=message):
            scrn_ops.reference.whitened_attention(**call)
        with pytest.raises((RuntimeError, TypeError, ValueError)):
            ops.whitened_attention(*call.values())


def test_the_backward_operator_refuses_bad_gradients():
    tensors = [t.detach() for t in inputs(SHAPE, F32, "cpu")]
    grad, *rest = arguments("whitened_attention_backward", tensors, True)
    for bad in (grad[0], grad[:, 1:], grad[..., 1:], grad.double(), grad.to("meta")):
        with pytest.raises((RuntimeError, TypeError, ValueError)):
            ops.whitened_attention_backward(bad, *rest)


@pytest.mark.parametrize("fake", [False, True])
def test_the_backward_operator_refuses_bad_probabilities(fake):
    tensors = [t.detach().to("meta" if fake else "cpu") for t in inputs(SHAPE, F32, "cpu")]
    fitting = arguments("whitened_attention_backward", tensors, True)
    probabilities = fitting[8]
    elsewhere = torch.zeros(2, 7, 9, device="cpu" if fake else "meta")
    for bad, error, message in (
        (probabilities[1:], ValueError, r"expected \[2, 7, 9\], got \[1, 7, 9\]"),
        (probabilities[:, 1:], ValueError, r"got \[2, 6, 9\]"),
        (probabilities[..., 1:], ValueError, r"got \[2, 7, 8\]"),
        (probabilities.transpose(1, 2), ValueError, r"got \[2, 9, 7\]"),
        (probabilities[0], ValueError, r"got \[7, 9\]"),
        (probabilities.flatten(), ValueError, r"expected \[0\], got \[126\]"),
        (probabilities.double(), TypeError, "expected dtype torch.float32"),
        (elsewhere, ValueError, "expected device"),
    ):
        with pytest.raises(error, match=f"probabilities: .*{message}"):
            ops.whitened_attention_backward(*fitting[:8], bad, *fitting[9:])
