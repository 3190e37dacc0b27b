"""Infinities, NaN, ignored pixels and empty batches."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import scrn_ops

from ..common.maps import F32

HIGHS = pytest.mark.parametrize("high", [(12, 16), (11, 13)], ids=["whole", "other"])


def inputs(device, high, classes=5, low=(3, 4)):
    logits = torch.randn(2, classes, *low, device=device)
    return logits, torch.randint(0, classes, (2, *high), device=device)


def loss_and_gradient(logits, target, **kwargs):
    logits = logits.clone().requires_grad_()
    loss = scrn_ops.upsampled_cross_entropy(logits, target, **kwargs)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    return loss.detach(), gradient


@HIGHS
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_masked_class_has_probability_zero(kernels, high, reduction):
    """-inf everywhere in one class: as if there were one less."""
    logits, target = inputs(kernels, high)
    target = target.clamp(max=3)
    masked = logits.clone()
    masked[:, 4] = -math.inf
    loss, gradient = loss_and_gradient(masked, target, reduction=reduction)
    want, want_gradient = loss_and_gradient(logits[:, :4].contiguous(), target, reduction=reduction)
    torch.testing.assert_close(loss, want)
    torch.testing.assert_close(gradient[:, :4], want_gradient)
    assert gradient[:, 4].abs().max() < 1e-30
    labels = scrn_ops.upsampled_argmax(masked, high)
    assert torch.equal(labels, scrn_ops.upsampled_argmax(logits[:, :4], high))


@HIGHS
def test_no_confidence_where_every_class_is_minus_infinity(kernels, high):
    logits, target = inputs(kernels, high)
    logits[0] = -math.inf
    _, confidence = scrn_ops.upsampled_argmax(logits, high, with_confidence=True)
    assert confidence[0].isnan().all()
    assert confidence[1].isfinite().all()
    loss, gradient = loss_and_gradient(logits, target, reduction="none")
    assert loss[0].isnan().all()
    assert gradient[0].isnan().all()
    assert loss[1].isfinite().all()


@HIGHS
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_loss_of_an_impossible_label_is_infinite(kernels, high, reduction):
    logits, target = inputs(kernels, high)
    logits[:, 2, 1] = -math.inf
    target[:] = 0
    target[0, high[0] // 2] = 2
    loss, _ = loss_and_gradient(logits, target, reduction=reduction)
    if reduction == "none":
        assert (loss[0, high[0] // 2] == math.inf).all()
        assert loss[target == 0].isfinite().all()
    else:
        assert loss == math.inf


@HIGHS
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("factor", [1e-12, -1.0, 0.0])
def test_an_impossible_label_of_any_weight(kernels, high, factor, smoothing):
    logits, target = inputs(kernels, high)
    logits[:, 2, 1] = -math.inf
    target[:] = 0
    target[0, high[0] // 2] = 2
    weight = torch.tensor([1, 1, factor, 1, 1], device=logits.device)
    found, _ = loss_and_gradient(
        logits, target, reduction="sum", weight=weight, label_smoothing=smoothing
    )
    if factor == 0:
        assert found.isfinite()
    else:
        assert found == math.copysign(math.inf, factor)


@HIGHS
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_comes_out_of_every_weight_above_zero(kernels, high, value):
    logits, target = inputs(kernels, high)
    logits[1, 3, 1, 2] = value
    loss, gradient = loss_and_gradient(logits, target, reduction="none")
    mean, mean_gradient = loss_and_gradient(logits, target)
    chain = F.interpolate(logits, high, mode="bilinear")
    # The chain also has NaN of weights of 0, at the borders.
    reach = F.interpolate((~logits.isfinite()).float(), high, mode="bilinear").any(1)
    assert loss[reach].isnan().all()
    assert loss[chain.isfinite().all(1)].isfinite().all()
    assert mean.isnan()
    for result in (gradient, mean_gradient):
        assert result[1, :, 1, 2].isnan().all()
        assert result[0].isfinite().all()


@HIGHS
def test_nothing_is_left_where_all_pixels_are_ignored(kernels, high):
    logits, target = inputs(kernels, high)
    target[:] = -100
    for reduction, value in (("mean", math.nan), ("sum", 0.0), ("none", 0.0)):
        loss, gradient = loss_and_gradient(logits, target, reduction=reduction)
        torch.testing.assert_close(loss, torch.full_like(loss, value), equal_nan=True)
        assert (gradient == 0).all(), reduction


def test_an_ignored_class(kernels):
    """ignore_index may be a class, as for torch; one that no label can have ignores none."""
    logits, target = inputs(kernels, (12, 16))
    chain = F.interpolate(logits, (12, 16), mode="bilinear")
    for index in (2, 255, -1):
        loss, _ = loss_and_gradient(logits, target, ignore_index=index)
        torch.testing.assert_close(loss, F.cross_entropy(chain, target, ignore_index=index))


def test_empty_batches(kernels):
    logits = torch.randn(0, 4, 3, 3, device=kernels)
    target = torch.zeros(0, 6, 6, dtype=torch.int64, device=kernels)
    for reduction in ("mean", "sum", "none"):
        loss, gradient = loss_and_gradient(logits, target, reduction=reduction)
        assert gradient.shape == logits.shape
        if reduction == "mean":
            assert loss.isnan()
        elif reduction == "sum":
            assert loss == 0
        else:
            assert loss.shape == target.shape
    assert scrn_ops.upsampled_argmax(logits, (6, 6)).shape == (0, 6, 6)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("value", [5, -1, 1 << 20])
def test_labels_that_are_no_class(dtype, value):
    logits, target = inputs("cpu", (12, 16))
    target = target.to(dtype)
    target[1, 7, 9] = value
    message = rf"target: expected labels from 0 to 4 .*, got {value} at \[1, 7, 9\]"
    for kwargs in ({}, {"reduction": "none"}):
        with pytest.raises(RuntimeError, match=message):
            scrn_ops.upsampled_cross_entropy(logits, target, **kwargs)


def test_a_class_of_weight_zero(kernels):
    logits, target = inputs(kernels, (12, 16))
    weight = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0], device=kernels)
    chain = F.interpolate(logits, (12, 16), mode="bilinear")
    for kwargs in ({}, {"label_smoothing": 0.2}):
        loss, gradient = loss_and_gradient(logits, target, weight=weight, **kwargs)
        want = F.cross_entropy(chain, target, weight=weight, **kwargs)
        torch.testing.assert_close(loss, want)
        assert gradient.isfinite().all()
    assert loss.dtype == F32


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_mean_of_weights_of_zero_is_nan(kernels, smoothing):
    """As torch has it, and so is the gradient."""
    logits, target = inputs(kernels, (12, 16))
    kwargs = {"weight": torch.zeros(5, device=kernels), "label_smoothing": smoothing}
    loss, gradient = loss_and_gradient(logits, target, **kwargs)
    assert loss.isnan()
    assert gradient.isnan().all()
    loss, gradient = loss_and_gradient(logits, target, reduction="sum", **kwargs)
    assert loss == 0
    assert (gradient == 0).all()


@HIGHS
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_negative_weights(kernels, high, reduction):
    logits, target = inputs(kernels, high)
    weight = torch.tensor([-1.0, -0.5, -2.0, 0.0, -0.1], device=kernels)
    kwargs = {"weight": weight, "reduction": reduction, "label_smoothing": 0.1}
    loss, gradient = loss_and_gradient(logits, target, **kwargs)
    want, want_gradient = loss_and_gradient(logits.double(), target, backend="eager", **kwargs)
    torch.testing.assert_close(loss, want.float())
    torch.testing.assert_close(gradient, want_gradient.float())


@pytest.mark.parametrize("factor", [1e-6, 1e3])
def test_float16_keeps_its_digits_whatever_the_size_of_the_weights(kernels, factor):
    logits, target = inputs(kernels, (12, 16))
    weight = factor * torch.rand(5, device=kernels)
    half = logits.half()
    _, gradient = loss_and_gradient(half, target, weight=weight)
    _, want = loss_and_gradient(half.float(), target, weight=weight)
    error = (gradient.float() - want).abs().max()
    assert error <= 1.5 * torch.finfo(torch.float16).eps * want.abs().max() + 2.0**-25


@HIGHS
@pytest.mark.parametrize("spread", [1e31, 1e200])
def test_float64_has_its_own_infinity(kernels, high, spread):
    logits, target = inputs(kernels, high)
    logits = spread * logits.double()
    for reduction in ("mean", "none"):
        loss, gradient = loss_and_gradient(logits, target, reduction=reduction)
        want, want_gradient = loss_and_gradient(
            logits, target, reduction=reduction, backend="eager"
        )
        torch.testing.assert_close(loss, want, rtol=1e-12, atol=1e-13 * spread)
        torch.testing.assert_close(gradient, want_gradient, rtol=1e-12, atol=1e-13)
