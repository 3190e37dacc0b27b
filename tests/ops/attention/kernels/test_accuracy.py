"""Both paths, forward and backward, against the formula in float64."""

from __future__ import annotations

from functools import partial
from itertools import permutations

import pytest
import torch
from torch.autograd import gradcheck

import scrn_ops

from ...common.maps import BF16, F16, F32, F64
from ..cases import (
    NAMES,
    Shape,
    assert_matches_formula,
    formula_in_float64,
    inputs,
    relative_error,
    scale_of,
    values_and_gradients,
)
from .rounding import close, rounded_attention

# With the table's tiles: sizes of 1 and around the tiles', widths from end to end.
SHAPES = (
    Shape(1, 1, 1, 16, 16),
    Shape(2, 300, 257, 16, 24),
    Shape(1, 130, 300, 256, 16),
    Shape(1, 70, 40, 64, 1024),
    Shape(3, 33, 100, 100, 130),
    Shape(1, 1, 129, 48, 272),
    Shape(1, 128, 1, 72, 64),
    Shape(0, 5, 6, 16, 16),
)
# With small tiles: several chunks, splits and tiles.
SMALL = Shape(2, 37, 70, 20, 36)
TINY = Shape(2, 18, 35, 17, 20)
# The interpreter is slow.
HALF_TYPES = [(Shape(2, 150, 170, 64, 96), "normal"), (Shape(1, 65, 70, 256, 272), "far_mean")]
SCALES = [-0.7, 0.0, 5.0, 1e-90]
NOT_FINITE = [torch.nan, torch.inf]
if torch.cuda.is_available():
    HALF_TYPES += [(shape, values) for (shape, _), (_, values) in permutations(HALF_TYPES)]
    SCALES += [1.0, 3e-6]
    NOT_FINITE += [-torch.inf]
VALUES = ("far_mean", "huge", "one_key", "equal", "tiny")


def bound(dtype):
    return {F64: 1e-12, F32: 2e-5}[dtype]


def assert_as_good_as_rounding(
    op, tensors, scale, *, slack=1.25, sums=1e-6, grad_layout="contiguous"
):
    """The error against float64 is that which half-type operands bring, give or take; ``sums`` is
    what float32 adds to it."""
    dtype = tensors[3].dtype
    actual, grad = values_and_gradients(op, tensors, grad_layout)
    expected, doubles = formula_in_float64(tensors, scale, grad)
    rounded = rounded_attention(tensors, grad, scale, dtype)
    for name, got, want, simulated in zip(
        ("output", *NAMES), actual, expected, rounded, strict=True
    ):
        floor = scale_of(name, doubles, grad)
        error, limit = relative_error(got, want, floor), relative_error(simulated, want, floor)
        assert error <= slack * limit + sums, f"{name}: {error:.3g} > {slack} * {limit:.3g}"


def assert_right(op, tensors, scale, *, loose=0.0, grad_layout="contiguous"):
    """In the interpreter as exact as the type, and on a device as rounded operands allow, to which
    comes all that float32 may be off by: of a single key no operand's rounding is left."""
    if tensors[3].dtype.itemsize == 2:
        assert_as_good_as_rounding(op, tensors, scale, sums=bound(F32), grad_layout=grad_layout)
    else:
        assert_matches_formula(
            op, tensors, scale, grad_layout=grad_layout, bound=lambda dtype: bound(dtype) + loose
        )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(device, path, shape):
    op = partial(scrn_ops.whitened_attention, scale=0.7, path=path)
    assert_right(op, inputs(shape, F64 if device == "cpu" else F16, device), 0.7)


@pytest.mark.usefixtures("small_tiles", "interpreted")
@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
def test_small_tiles(device, path, dtype):
    op = partial(scrn_ops.whitened_attention, scale=0.7, path=path)
    assert_right(op, inputs(SMALL, dtype, device), 0.7)


@pytest.mark.parametrize(("n", "m"), [(130, 40), (40, 130)])
def test_parts_of_sums_of_other_sizes(device, path, widest, n, m, monkeypatch):
    """Of queries and of keys, as where one of both is more than 2048."""
    from scrn_ops.attention.kernels import launch, replay

    monkeypatch.setattr(launch, "_SPLITS", 1)
    replay.forget()
    op = partial(scrn_ops.whitened_attention, scale=0.7, path=path)
    assert_right(op, inputs(Shape(1, n, m, 16, 20), widest, device), 0.7)
    replay.forget()


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("values", VALUES)
def test_values(device, path, widest, values):
    if values == "huge" and widest == F16:
        pytest.skip("rounded queries would choose other keys")
    op = partial(scrn_ops.whitened_attention, scale=1.3, path=path)
    tensors = inputs(TINY, widest, device, values=values)
    loose = 1e-3 if values == "huge" else 0  # float32 scores of 1e4 are exact to 1e-3
    assert_right(op, tensors, 1.3, loose=loose)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("scale", SCALES)
def test_scales(device, path, widest, scale):
    """Of any sign, and so small that it is nothing in float32."""
    op = partial(scrn_ops.whitened_attention, scale=scale, path=path)
    assert_right(op, inputs(TINY, widest, device), scale)


@pytest.mark.usefixtures("small_tiles")
def test_a_scale_beyond_the_half_type(device, path):
    """It multiplies products in float32, and no query that it would take out of range."""
    query, key, unary, value = (t.detach() for t in inputs(TINY, F16, device))
    output = scrn_ops.whitened_attention(
        query * 400, key * 1e-4, unary, value, scale=128.0, path=path
    )
    doubles = ((query * 400).double(), (key * 1e-4).double(), unary.double(), value.double())
    expected = scrn_ops.reference.whitened_attention(*doubles, scale=128.0)
    torch.testing.assert_close(output.double(), expected, rtol=2e-2, atol=2e-3)


def test_logits_that_mask_keys_out(device, path, widest):
    """A whole part of the keys, and all keys of an image, by -inf."""
    tensors = inputs(Shape(2, 18, 150, 16, 20), widest, device)
    with torch.no_grad():
        tensors[2][:, 40:140] = -torch.inf
        tensors[2][1] = -torch.inf
    results = []
    for options in ({"path": path}, {"backend": "reference"}):
        op = partial(scrn_ops.whitened_attention, **options)
        results.append(values_and_gradients(op, tensors)[0])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got[0], want[0], **close(widest, 1e-4, 1e-5))
    assert results[0][0][1].isnan().all()


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize(("shape", "values"), HALF_TYPES, ids=str)
def test_half_types(device, path, shape, dtype, values):
    op = partial(scrn_ops.whitened_attention, scale=0.7, path=path)
    assert_as_good_as_rounding(op, inputs(shape, dtype, device, values=values), 0.7)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_half_types_small_tiles(device, path, dtype):
    op = partial(scrn_ops.whitened_attention, scale=0.7, path=path)
    assert_as_good_as_rounding(op, inputs(SMALL, dtype, device), 0.7)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("layout", ["channel_major", "sliced", "expanded"])
def test_layouts(device, path, widest, layout):
    op = partial(scrn_ops.whitened_attention, scale=0.7, path=path)
    tensors = inputs(TINY, widest, device, layout=layout)
    for grad_layout in ("contiguous", layout):
        assert_right(op, tensors, 0.7, grad_layout=grad_layout)
    output = op(*tensors)
    assert output.transpose(1, 2).is_contiguous() == (layout == "channel_major")


@pytest.mark.usefixtures("small_tiles")
def test_embeddings_in_float32(device, path):
    """Whitened before they are rounded: as good as rounding, with a mean of 300."""
    tensors = inputs(TINY, BF16, device, embedding_dtype=F32)
    shifted = [(t.detach() + 300).requires_grad_() for t in tensors[:2]]
    op = partial(scrn_ops.whitened_attention, scale=0.7, path=path)
    assert_as_good_as_rounding(op, [*shifted, *tensors[2:]], 0.7, slack=1.3)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("name", range(4))
@pytest.mark.parametrize("value", NOT_FINITE, ids=str)
def test_not_finite(device, path, widest, name, value):
    tensors = inputs(TINY, widest, device)
    with torch.no_grad():
        tensors[name][0, 3] = value
    results = []
    for options in ({"path": path}, {"backend": "reference"}):
        op = partial(scrn_ops.whitened_attention, **options)
        results.append(values_and_gradients(op, tensors)[0])
    for place, (got, want) in enumerate(zip(*results, strict=True)):
        assert not got[1].isnan().any()
        assert got.isnan().logical_or(~want.isnan()).all()
        if name == 2 and place > 0:
            # The unary term's NaN is in every output, and through it in the mean of the
            # probabilities' gradients: those that the formula keeps clean may be NaN here.
            continue
        torch.testing.assert_close(got, want, equal_nan=True, **close(widest, 1e-3, 1e-4))


@pytest.mark.usefixtures("interpreted")
def test_gradcheck(device, path):
    tensors = inputs(Shape(2, 6, 5, 4, 3), F64, device)
    op = partial(scrn_ops.whitened_attention, scale=1.5, path=path)
    assert gradcheck(op, tensors, fast_mode=True)


@pytest.mark.usefixtures("small_tiles", "interpreted")
def test_gradcheck_small_tiles(device, path):
    op = partial(scrn_ops.whitened_attention, scale=1.5, path=path)
    assert gradcheck(op, inputs(Shape(1, 18, 34, 17, 18), F64, device), fast_mode=True)


@pytest.mark.parametrize("wanted", range(4))
def test_single_gradients(device, path, widest, wanted):
    shape = Shape(2, 9, 11, 16, 24)
    op = partial(scrn_ops.whitened_attention, path=path)
    everything, grad = values_and_gradients(op, inputs(shape, widest, device))
    tensors = [t.detach() for t in inputs(shape, widest, device)]
    tensors[wanted].requires_grad_()
    (gradient,) = torch.autograd.grad(op(*tensors), tensors[wanted], grad)
    assert torch.equal(gradient, everything[1 + wanted])


def test_the_same_bits_every_time(device, path, widest):
    tensors = inputs(Shape(2, 65, 70, 32, 48), widest, device)
    op = partial(scrn_ops.whitened_attention, path=path)
    first, second = (values_and_gradients(op, tensors)[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
