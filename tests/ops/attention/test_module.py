"""DisentangledNonLocal: the published formula, layouts, errors, compilation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import scrn_ops


def module(**options):
    return scrn_ops.DisentangledNonLocal(12, 16, 20, **options)


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("size", [(5, 7), (1, 1), (1, 6)])
def test_against_the_formula(size, format):
    attention = module(use_scale=True, temperature=0.5)
    assert attention.scale == pytest.approx(16**-0.5 / 0.5)
    x = torch.randn(2, 12, *size).to(memory_format=format).requires_grad_()
    output = attention(x)
    pixels = x.flatten(2).transpose(1, 2)

    def rows(conv):
        bias = 0 if conv.bias is None else conv.bias
        return pixels @ conv.weight[:, :, 0, 0].t() + bias

    q, k, v = (rows(conv) for conv in (attention.query, attention.key, attention.value))
    q, k = q - q.mean(1, keepdim=True), k - k.mean(1, keepdim=True)
    weights = (attention.scale * q @ k.transpose(1, 2)).softmax(2)
    weights = weights + rows(attention.unary)[..., 0].softmax(1)[:, None]
    expected = (weights @ v).transpose(1, 2).unflatten(2, size)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    gradients = torch.autograd.grad(output.square().sum(), [x, *attention.parameters()])
    wanted = torch.autograd.grad(expected.square().sum(), [x, *attention.parameters()])
    for got, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_layout_is_kept_and_nothing_is_copied(format, monkeypatch):
    attention = module()
    maps, given = [], []
    for conv in (attention.query, attention.key, attention.unary, attention.value):
        conv.register_forward_hook(lambda conv, args, output: maps.append(output))

    def record(*tensors, **options):
        output = scrn_ops.whitened_attention(*tensors, **options)
        given.extend((*tensors, output))
        return output

    monkeypatch.setattr(scrn_ops.attention.module, "whitened_attention", record)
    y = attention(torch.randn(2, 12, 5, 7).to(memory_format=format))
    assert y.is_contiguous(memory_format=format)
    addresses = [t.data_ptr() for t in (*maps, y)]
    assert sorted(addresses) == sorted(t.data_ptr() for t in given)


def test_backends_agree():
    x = torch.randn(2, 12, 4, 5)
    attention = module()
    outputs = []
    for backend in (None, "fused", "eager", "reference"):
        attention.backend = backend
        outputs.append(attention(x))
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0])


def test_one_graph():
    attention = module()
    compiled = torch.compile(attention, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in ((5, 7), (6, 4)):
        x = torch.randn(3, 12, *size)
        torch.testing.assert_close(compiled(x), attention(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 0}, "in_channels: expected at least 1, got 0"),
        ({"key_channels": -1}, "key_channels: expected at least 1"),
        ({"value_channels": 0}, "value_channels: expected at least 1"),
        ({"temperature": 0}, "temperature: expected a number above 0, got 0"),
        ({"temperature": float("nan")}, "temperature: expected"),
        ({"backend": "triton"}, "backend: expected None"),
    ],
)
def test_bad_options(options, message):
    widths = {"in_channels": 4, "key_channels": 4, "value_channels": 4}
    with pytest.raises(ValueError, match=message):
        scrn_ops.DisentangledNonLocal(**{**widths, **options})


@pytest.mark.parametrize("width", ["4", 4.0, True, None])
def test_widths_are_ints(width):
    with pytest.raises(TypeError, match=f"key_channels: expected an int, got {width!r}"):
        scrn_ops.DisentangledNonLocal(4, width, 4)
    scrn_ops.DisentangledNonLocal(4, np.int64(4), 4)


def test_bad_maps():
    for bad in (torch.zeros(2, 11, 4, 4), torch.zeros(12, 4, 4)):
        with pytest.raises(ValueError, match=r"x: expected \[B, 12, H, W\]"):
            module()(bad)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([1.0], TypeError, "x: expected a Tensor, got list"),
        (torch.zeros(2, 12, 4, 4).long(), TypeError, "x: expected dtype float32, .*int64"),
        (torch.zeros(2, 12, 4, 4).double(), TypeError, "x: expected the module's dtype .*float32"),
        (torch.zeros(2, 12, 4, 4).half(), TypeError, "x: expected the module's dtype .*float32"),
        (torch.zeros(2, 12, 0, 4), ValueError, r"x: .* at least 1, got \[2, 12, 0, 4\]"),
        (torch.zeros(2, 12, 4, 4).to_sparse(), NotImplementedError, "x: expected a dense tensor"),
    ],
)
def test_bad_maps_are_named(x, error, message):
    with pytest.raises(error, match=message):
        module()(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_maps_of_another_type_under_autocast(dtype):
    attention = module().to(dtype)
    x = torch.randn(2, 12, 4, 5)
    assert attention(x.to(dtype)).dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for given in (torch.float32, torch.bfloat16, torch.float16):
            assert attention(x.to(given)).dtype == torch.bfloat16
        with pytest.raises(TypeError, match="x: expected the module's dtype"):
            attention(x.double())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": "a"}, "temperature: expected a number, got str"),
        ({"temperature": torch.ones(())}, "temperature: expected a number, got Tensor"),
        ({"use_scale": "no"}, "use_scale: expected True or False, got 'no'"),
    ],
)
def test_options_of_a_wrong_type(options, message):
    with pytest.raises(TypeError, match=message):
        module(**options)


def test_repr():
    assert "scale=1, backend='eager'" in repr(module(backend="eager"))
