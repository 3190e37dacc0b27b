"""The attention by matrix products, on the CPU against the formula in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import scrn_ops
from scrn_ops import reference
from scrn_ops.attention import by_products, products

from ..common.maps import BF16, DTYPES, F16, F32, F64
from .cases import (
    LAYOUTS,
    Shape,
    assert_matches_formula,
    formula_in_float64,
    inputs,
    relative_error,
    values_and_gradients,
)

SHAPES = (
    Shape(1, 1, 1, 16, 16),
    Shape(2, 7, 5, 16, 24),
    Shape(3, 65, 300, 48, 130),
    Shape(1, 300, 33, 256, 16),
    Shape(2, 40, 40, 64, 64),
    Shape(0, 5, 6, 16, 16),
    Shape(1, 9, 12, 3, 2),
)
VALUES = ("normal", "far_mean", "huge", "one_key", "equal", "tiny")


def bound(dtype):
    # Half types are computed in float32: the last rounding is all there is.
    return {F64: 1e-12, F32: 2e-5, F16: 2**-11, BF16: 2**-8}[dtype]


@pytest.fixture(params=["whole", "chunked"])
def chunks(request, monkeypatch):
    """All scores at once, or a few rows of a single image at a time."""
    if request.param == "chunked":
        monkeypatch.setattr(by_products, "CHUNK_SCORES", 100)
        monkeypatch.setattr(by_products, "FEW_SCORES", 0)


@pytest.fixture(params=["kept", "recomputed"])
def probabilities(request, monkeypatch):
    if request.param == "recomputed":
        monkeypatch.setattr(by_products, "KEPT_BYTES", -1)


def outrun_mkl(monkeypatch, outruns=True):
    if outruns and not torch.backends.mkldnn.is_available():
        pytest.skip("torch was built without oneDNN")
    monkeypatch.setattr(products, "_outruns_mkl", lambda: outruns)


@pytest.fixture(params=["bmm", "onednn"])
def products_by(request, monkeypatch):
    """The products of every size, on every processor."""
    outrun_mkl(monkeypatch, request.param == "onednn")
    monkeypatch.setattr(products, "ONEDNN_MULTIPLICATIONS", 0)
    return request.param


@pytest.fixture
def onednn_calls(monkeypatch):
    calls, original = [], products._by_onednn

    def spy(*args):
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(products, "_by_onednn", spy)
    return calls


@pytest.mark.usefixtures("chunks", "probabilities", "products_by")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_the_formula(shape, dtype):
    op = partial(scrn_ops.whitened_attention, scale=0.7)
    assert_matches_formula(op, inputs(shape, dtype, "cpu"), 0.7, bound=bound)


@pytest.mark.usefixtures("probabilities", "products_by")
@pytest.mark.parametrize("scale", [0.3, 1.3])
@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("dtype", [F32, F64, BF16], ids=str)
def test_values(values, dtype, scale):
    op = partial(scrn_ops.whitened_attention, scale=scale)
    tensors = inputs(Shape(2, 50, 61, 32, 32), dtype, "cpu", values=values)
    loose = 1e-3 if values == "huge" else 0  # float32 scores of 1e4 are exact to 1e-3
    assert_matches_formula(op, tensors, scale, bound=lambda d: bound(d) + loose * (d != F64))


@pytest.mark.parametrize("scale", [-1.5, -1.0, -0.5, 0.0, 1.0])
def test_scales_of_every_kind(scale):
    """Of 1, beyond it and below it the differences from the mean are made in ways of their own."""
    tensors = inputs(Shape(2, 7, 5, 16, 24), F32, "cpu")
    op = partial(scrn_ops.whitened_attention, scale=scale)
    assert_matches_formula(op, tensors, scale, bound=bound)


@pytest.mark.parametrize("scale", [0.3, 1.3])
def test_means_of_a_thousand_cost_no_more_than_in_the_formula(scale):
    """In float32, where taking them off loses ten of the 24 bits."""
    shape = Shape(2, 200, 211, 32, 32)
    tensors = inputs(shape, F32, "cpu")
    with torch.no_grad():
        tensors[0] += 1000
        tensors[1] -= 1000
    errors = []
    for call in (scrn_ops.whitened_attention, reference.whitened_attention):
        actual, grad = values_and_gradients(partial(call, scale=scale), tensors)
        expected, _ = formula_in_float64(tensors, scale, grad)
        errors.append([relative_error(a, e) for a, e in zip(actual, expected, strict=True)])
    for ours, formula in zip(*errors, strict=True):
        assert ours <= 1.5 * formula


@pytest.fixture(params=["flash", "products"])
def inference_by(request, monkeypatch):
    """Torch's flash attention, which small shapes do without, or matrix products."""
    if request.param == "flash":
        monkeypatch.setattr(by_products, "FLASH_SCORES", 0)
    return request.param


@pytest.fixture
def flash_calls(monkeypatch):
    name = "_scaled_dot_product_flash_attention_for_cpu"
    calls, original = [], getattr(torch.ops.aten, name)

    def spy(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(torch.ops.aten, name, spy)
    return calls


@pytest.mark.parametrize("shape", [SHAPES[2], SHAPES[4]], ids=str)
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_inference(shape, dtype, inference_by, flash_calls):
    """No probabilities are kept."""
    tensors = [t.detach() for t in inputs(shape, dtype, "cpu")]
    expected = reference.whitened_attention(*tensors, scale=0.5)
    output = scrn_ops.whitened_attention(*tensors, scale=0.5)
    torch.testing.assert_close(output, expected)
    takes_flash = inference_by == "flash" and shape.key_channels == shape.value_channels
    assert len(flash_calls) == takes_flash


@pytest.mark.parametrize("n", [1448, 1449])
def test_flash_from_two_million_scores_on(n, flash_calls):
    tensors = [t.detach() for t in inputs(Shape(1, n, 1449, 16, 16), F32, "cpu")]
    scrn_ops.whitened_attention(*tensors)
    assert len(flash_calls) == (n * 1449 >= 1 << 21)


@pytest.mark.usefixtures("products_by")
@pytest.mark.parametrize("grad_layout", LAYOUTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, grad_layout):
    tensors = inputs(Shape(2, 19, 23, 16, 40), F32, "cpu", layout=layout)
    op = partial(scrn_ops.whitened_attention, scale=0.7)
    assert_matches_formula(op, tensors, 0.7, grad_layout=grad_layout, bound=bound)


@pytest.mark.parametrize("kind", ["expanded", "half_of_wider_rows", "overlapping"])
def test_values_that_are_not_packed(kind, products_by, monkeypatch):
    """oneDNN refuses weights that overlap, and is slow beyond measure with rows that are apart."""
    packed, original = [], torch.ops.mkldnn._linear_pointwise

    def spy(a, weight, *rest):
        packed.append(weight.is_contiguous() or weight.t().is_contiguous())
        return original(a, weight, *rest)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", spy)
    query, key, unary, value = inputs(Shape(1, 19, 23, 16, 80), F32, "cpu")
    value = value.detach()
    value = {
        "expanded": value[:, :1].expand(-1, 23, -1),
        "half_of_wider_rows": value.chunk(2, 2)[1],
        "overlapping": value.flatten(1).unfold(1, 40, 1)[:, :23],
    }[kind].requires_grad_()
    assert_matches_formula(
        scrn_ops.whitened_attention, [query, key, unary, value], 1.0, bound=bound
    )
    assert all(packed)
    assert bool(packed) == (products_by == "onednn")


@pytest.mark.parametrize("outruns", [True, False])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("n", [1023, 1024])
def test_onednn_from_thirty_million_multiplications_on(
    n, dtype, outruns, onednn_calls, monkeypatch
):
    outrun_mkl(monkeypatch, outruns)
    # The scores are of n x 1024 x 32 multiplications, the output of half as many again.
    tensors = [t.detach() for t in inputs(Shape(1, n, 1024, 32, 48), dtype, "cpu")]
    scrn_ops.whitened_attention(*tensors)
    taken = outruns and dtype == F32
    assert len(onednn_calls) == taken * (1 + (n == 1024))
    onednn_calls.clear()
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    scrn_ops.whitened_attention(*tensors)
    assert not onednn_calls


def test_products_of_every_image_and_of_the_backward(onednn_calls, monkeypatch):
    outrun_mkl(monkeypatch)
    values_and_gradients(
        scrn_ops.whitened_attention, inputs(Shape(4, 600, 600, 96, 96), F32, "cpu")
    )
    assert len(onednn_calls) == 4 * 4


@pytest.mark.parametrize("outruns", [True, False])
@pytest.mark.parametrize("width", [128, 129, 256, 257])
def test_flash_up_to_a_width(width, outruns, flash_calls, monkeypatch):
    outrun_mkl(monkeypatch, outruns)
    tensors = [t.detach() for t in inputs(Shape(1, 1449, 1449, width, width), F32, "cpu")]
    scrn_ops.whitened_attention(*tensors)
    assert len(flash_calls) == (width <= (128 if outruns else 256))


@pytest.mark.parametrize("dtype", [F64, F16, BF16], ids=str)
def test_embeddings_in_float32(dtype):
    tensors = inputs(Shape(2, 19, 23, 16, 40), dtype, "cpu", embedding_dtype=F32)
    op = partial(scrn_ops.whitened_attention, scale=0.7)
    assert_matches_formula(op, tensors, 0.7, bound=lambda d: bound(d) + 2 * bound(dtype))


@pytest.mark.usefixtures("inference_by", "products_by")
@pytest.mark.parametrize("name", range(4))
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf], ids=str)
@pytest.mark.parametrize("width", [24, 16])
def test_not_finite(name, value, width):
    tensors = inputs(Shape(2, 9, 11, 16, width), F32, "cpu")
    with torch.no_grad():
        tensors[name][0, 3] = value
    results = []
    for backend in ("fused", "reference"):
        op = partial(scrn_ops.whitened_attention, backend=backend)
        with torch.no_grad():
            inference = op(*tensors)
        results.append([inference, *values_and_gradients(op, tensors)[0]])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, equal_nan=True, rtol=1e-4, atol=1e-4)
        assert not got[1].isnan().any()


@pytest.mark.usefixtures("probabilities", "inference_by", "products_by")
@pytest.mark.parametrize("width", [24, 16])
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
@pytest.mark.parametrize(
    ("largest", "scale"),
    [(1e25, 1), (1e18, 1e10), (1e18, -1e10), (1, torch.nan), (1, torch.inf), (torch.nan, 0)],
)
def test_scores_that_overflow(largest, scale, dtype, width):
    """Products of finite numbers may be inf - inf, and then whole rows are NaN."""
    tensors = inputs(Shape(2, 9, 11, 16, width), dtype, "cpu")
    with torch.no_grad():
        tensors[0][0, 2, :4] = largest
        tensors[1][0, 3, :2] = largest
        tensors[1][0, 3, 2:4] = -largest
    results = []
    for backend in ("fused", "reference"):
        op = partial(scrn_ops.whitened_attention, scale=scale, backend=backend)
        with torch.no_grad():
            inference = op(*tensors)
        results.append([inference, *values_and_gradients(op, tensors)[0]])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, equal_nan=True, rtol=0.02, atol=0.02)
    assert results[0][0][0].isnan().all()


@pytest.mark.usefixtures("inference_by")
def test_sums_of_values_that_overflow():
    """Where the values have no infinity, and their weighted mean has none."""
    tensors = [t.detach() for t in inputs(Shape(1, 9, 11, 16, 16), F32, "cpu", values="tiny")]
    tensors[3] = torch.full_like(tensors[3], 5e37)
    output = scrn_ops.whitened_attention(*tensors)
    torch.testing.assert_close(output, torch.full_like(output, 1e38))


@pytest.mark.usefixtures("chunks", "probabilities")
@pytest.mark.parametrize("layout", ["contiguous", "channel_major"])
def test_gradcheck(layout):
    tensors = inputs(Shape(2, 6, 5, 4, 3), F64, "cpu", layout=layout)
    assert gradcheck(partial(scrn_ops.whitened_attention, scale=1.5), tensors)


def test_the_formula_is_twice_differentiable():
    tensors = inputs(Shape(1, 3, 4, 2, 2), F64, "cpu")
    for backend in ("reference", "eager"):
        op = partial(scrn_ops.whitened_attention, scale=1.5, backend=backend)
        assert gradcheck(op, tensors, check_forward_ad=True)
        assert gradgradcheck(op, tensors, fast_mode=True)


def test_the_formula_by_loops():
    """Eqs. 8 and 9, one number at a time."""
    q, k, m, v = (t.detach() for t in inputs(Shape(1, 3, 4, 2, 5), F64, "cpu"))
    output = reference.whitened_attention(q, k, m, v, scale=1.5)
    q, k, m, v = q[0], k[0], m[0], v[0]
    for i in range(3):
        scores = [1.5 * sum((q[i] - q.mean(0)) * (k[j] - k.mean(0))) for j in range(4)]
        pairwise = [s.exp() / sum(t.exp() for t in scores) for s in scores]
        unary = [x.exp() / sum(y.exp() for y in m) for x in m]
        expected = sum((pairwise[j] + unary[j]) * v[j] for j in range(4))
        torch.testing.assert_close(output[0, i], expected)


@pytest.mark.parametrize("wanted", range(4))
def test_single_gradients(wanted):
    shape = Shape(2, 9, 11, 16, 24)
    everything, grad = values_and_gradients(scrn_ops.whitened_attention, inputs(shape, F64, "cpu"))
    tensors = [t.detach() for t in inputs(shape, F64, "cpu")]
    tensors[wanted].requires_grad_()
    output = scrn_ops.whitened_attention(*tensors)
    (gradient,) = torch.autograd.grad(output, tensors[wanted], grad)
    torch.testing.assert_close(gradient, everything[1 + wanted])
