"""The Triton kernels under opcheck, torch.compile, vmap and autocast, and their memory."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.library import opcheck

import scrn_ops
from scrn_ops import reference
from scrn_ops.attention import table
from scrn_ops.attention.chunks import parts

from ...common.maps import BF16, F32
from ..cases import Shape, inputs, values_and_gradients
from .rounding import close

ops = torch.ops.scrn_ops
SHAPE = Shape(2, 7, 9, 16, 24)


@pytest.mark.parametrize("keep", [False, True])
def test_opcheck(device, path, widest, keep):
    tensors = inputs(SHAPE, widest, device, layout="channel_major")
    opcheck(ops.whitened_attention.default, (*tensors, 0.7, keep, path))
    plain = [t.detach() for t in tensors]
    output, *saved = ops.whitened_attention(*plain, 0.7, keep, path)
    for needs in ((True,) * 4, (True, False, True, False)):
        args = (torch.randn_like(output), *plain, output, *saved, 0.7, *needs)
        opcheck(ops.whitened_attention_backward.default, args)


def test_one_graph_for_many_shapes(device, path, widest):
    def chain(*tensors):
        return scrn_ops.whitened_attention(*tensors, scale=0.3, path=path).relu()

    torch._dynamo.reset()
    compiled = torch.compile(chain, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in (Shape(4, 7, 9, 16, 24), Shape(3, 19, 13, 20, 32)):
        tensors = inputs(shape, widest, device)
        got = values_and_gradients(compiled, tensors)[0]
        for a, b in zip(got, values_and_gradients(chain, tensors)[0], strict=True):
            torch.testing.assert_close(a, b)


def test_vmap(device, path, widest):
    tensors = [t.detach() for t in inputs(SHAPE, widest, device)]
    batches = [torch.stack([t, t * 0.9]) for t in tensors]
    op = partial(scrn_ops.whitened_attention, path=path)
    expected = torch.stack([op(*(b[i] for b in batches)) for i in range(2)])
    torch.testing.assert_close(torch.vmap(op)(*batches), expected)


@pytest.mark.parametrize("batch", [1, 2])
def test_several_gradients_of_one_forward(device, path, widest, batch):
    """What the forward saved is then a view that repeats itself, of one image as of several."""
    tensors = [t.detach() for t in inputs(Shape(batch, 7, 9, 16, 24), widest, device)]
    results = []
    for options in ({"path": path}, {"backend": "reference"}):
        output, pullback = torch.func.vjp(partial(scrn_ops.whitened_attention, **options), *tensors)
        grads = torch.stack([output.detach() * factor for factor in (1.0, -0.5, 0.3)])
        results.append(torch.vmap(pullback)(grads))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, **close(widest, 1e-4, 1e-5))


def test_autocast(device, path):
    query, key, unary, value = inputs(SHAPE, F32, device)
    op = partial(scrn_ops.whitened_attention, path=path)
    expected = op(query, key, unary, value.bfloat16())
    with torch.autocast(device, dtype=BF16):
        output = op(query, key, unary, value)
    assert output.dtype == BF16
    assert torch.equal(output, expected)


def test_options_that_do_not_fit(device, widest):
    tensors = inputs(SHAPE, widest, device)
    with pytest.raises(ValueError, match=r"path: expected None, 'flash' or .*got 'fast'"):
        scrn_ops.whitened_attention(*tensors, path="fast")
    with pytest.raises(ValueError, match="width: expected at most 256 for flash, got 300"):
        scrn_ops.whitened_attention(*inputs(Shape(1, 3, 3, 300, 16), widest, device), path="flash")


@pytest.mark.parametrize("multiple", [1, 16])
def test_scores_in_memory_are_bounded(multiple):
    """Whatever N: a chunk's rows times M, and ``multiple`` rows at least. The first is the largest,
    and only the last rows of an image are no multiple."""
    for batch, rows, columns, limit in (
        (1, 5000, 700, 7000), (7, 30, 20, 1300), (3, 11, 999, 100), (5, 4, 4, 10**6),
    ):  # fmt: skip
        seen = torch.zeros(batch, rows)
        sizes = []
        for part in parts(batch, rows, columns, limit, multiple):
            seen[part] += 1
            sizes.append(seen[part].numel() * columns)
            assert part[1].start % multiple == 0
            assert part[1].stop % multiple == 0 or part[1].stop == rows
        assert (seen == 1).all()
        assert sizes[0] == max(sizes) <= max(limit, multiple * columns)


def test_half_types_keep_the_pairwise_term(device, path):
    """Without the rounding of the term that all queries share."""
    tensors = [t.detach() for t in inputs(Shape(2, 33, 40, 16, 24), BF16, device)]
    tensors[3] += 8
    output, _, shared, pairwise = ops.whitened_attention(*tensors, 1.0, True, path)
    expected = reference.whitened_attention(*(t.double() for t in tensors))
    expected -= tensors[2].double().softmax(1).unsqueeze(1) @ tensors[3].double()
    torch.testing.assert_close(pairwise.double(), expected, rtol=8e-3, atol=1e-4)
    together = pairwise.float() + shared.unsqueeze(1)
    torch.testing.assert_close(output.float(), together, rtol=8e-3, atol=1e-2)


def test_a_nan_of_the_unary_term_stays_there(device, path):
    """The gradients of queries and keys do not know that term, in half types."""
    tensors = inputs(Shape(2, 33, 40, 16, 24), BF16, device)
    with torch.no_grad():
        tensors[2][0, 3] = torch.nan
    output = scrn_ops.whitened_attention(*tensors, path=path)
    query, key, unary, _ = torch.autograd.grad(output.sum(), tensors)
    assert not query.isnan().any()
    assert not key.isnan().any()
    assert unary[0].isnan().all()
    assert not unary[1].isnan().any()


def test_key_splits():
    """Keys are split where there are fewer programs than processors, into parts that are
    multiples of a block and never empty."""
    assert table.key_splits(200, 4096, 64, 132) == (1, 4096)
    for programs in (1, 8, 32, 131):
        for m in (1, 63, 64, 65, 500, 2048, 8191):
            splits, keys = table.key_splits(programs, m, 64, 132)
            assert keys % 64 == 0
            assert (splits - 1) * keys < m <= splits * keys
            assert splits * programs <= 132
            if m >= 8 * 64 and programs <= 32:
                assert splits > 1


def test_paths():
    assert table.choose_path(256, 256) == "flash"
    for width, channels in ((256, 1024), (300, 64), (256, 257), (257, 256)):
        assert table.choose_path(width, channels) == "split_softmax"
