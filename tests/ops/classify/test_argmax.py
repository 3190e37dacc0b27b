"""Labels and confidences against interpolate and argmax."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import scrn_ops

from ..common.maps import BF16, DENSE_LAYOUTS, F16, F32, F64, generator, leaf, normal
from .cases import SIZES, Size


def logits_of(size, dtype, device, layout="nchw", smooth=False):
    numbers = generator(size, smooth)
    values = normal((size.batch, size.classes, *size.low), numbers)
    if smooth:
        coarse = normal((size.batch, size.classes, 3, 3), numbers)
        values = 4 * F.interpolate(coarse, size.low, mode="bicubic") + 0.05 * values
    return leaf(values, dtype, device, layout).detach()


def check(size, dtype, device, align_corners=False, **kwargs):
    logits = logits_of(size, dtype, device, **kwargs)
    options = {"align_corners": align_corners}
    labels = scrn_ops.upsampled_argmax(logits, size.high, **options)
    assert labels.dtype == torch.int64
    exact = F.interpolate(logits.cpu().double(), size.high, mode="bilinear", **options)
    best = exact.argmax(1)
    chosen = exact.gather(1, labels.cpu()[:, None]).squeeze(1)
    # Another label only where the two best are as good as equal.
    assert (exact.amax(1) - chosen).max() <= 1e-5 * logits.abs().max()
    assert (labels.cpu() != best).float().mean() < 1e-3
    again, confidence = scrn_ops.upsampled_argmax(
        logits, size.high, with_confidence=True, **options
    )
    assert torch.equal(again, labels)
    assert confidence.dtype == F32
    want = exact.softmax(1).amax(1)
    assert (confidence.cpu() - want).abs().max() <= 2e-7 * (1 + logits.abs().max())
    if size.classes <= 256:
        small = scrn_ops.upsampled_argmax(logits, size.high, dtype=torch.uint8, **options)
        assert small.dtype == torch.uint8
        assert torch.equal(small.long(), labels)


@pytest.mark.parametrize("smooth", [False, True], ids=["random", "smooth"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_float32(kernels, size, smooth):
    check(size, F32, kernels, smooth=smooth)


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("dtype", [F64, F16, BF16], ids=str)
def test_other_types(kernels, dtype, layout):
    for size in (Size(2, 19, (6, 9), (24, 36)), Size(1, 5, (9, 4), (25, 7))):
        check(size, dtype, kernels, layout=layout)


def test_align_corners(kernels):
    for size in (Size(2, 19, (6, 9), (24, 36)), Size(1, 5, (9, 4), (5, 7))):
        check(size, F32, kernels, align_corners=True)


def test_sliced_logits(kernels):
    check(Size(2, 6, (5, 6), (20, 24)), F32, kernels, layout="sliced")


@pytest.mark.parametrize("high", [(12, 16), (11, 13)], ids=["whole", "other"])
def test_the_first_of_equal_values_wins(kernels, high):
    logits = torch.randint(-1, 2, (2, 6, 3, 4)).float().to(kernels)
    want = F.interpolate(logits.double(), high, mode="bilinear").argmax(1)
    labels = scrn_ops.upsampled_argmax(logits, high)
    if high == (12, 16):  # all of it is exact in binary
        assert torch.equal(labels, want)
    constant = torch.zeros(1, 6, 3, 4, device=kernels)
    assert (scrn_ops.upsampled_argmax(constant, high) == 0).all()


@pytest.mark.parametrize("high", [(12, 16), (11, 13)], ids=["whole", "other"])
def test_nan_is_the_largest(kernels, high):
    logits = torch.randn(2, 5, 3, 4, device=kernels)
    logits[0, 3, 1, 1] = math.nan
    logits[0, 1, 2, 2] = math.nan
    labels, confidence = scrn_ops.upsampled_argmax(logits, high, with_confidence=True)
    chain = F.interpolate(logits, high, mode="bilinear")
    # The chain also has NaN of weights of 0, at the borders.
    reach = F.interpolate(logits.isnan().float(), high, mode="bilinear").any(1)
    assert torch.equal(labels[reach], chain.argmax(1)[reach])
    assert confidence[reach].isnan().all()
    assert confidence[~chain.isnan().any(1)].isfinite().all()


def test_a_class_that_is_large_at_three_corners_keeps_no_other_from_the_fourth(kernels):
    logits = torch.full((1, 19, 9, 41), -20.0)
    logits[:, 0], logits[:, 1] = 5, -9
    # Each is another corner of four cells: where class 0 falls, class 1 is the largest.
    for y, x in ((2, 7), (5, 18), (7, 33)):
        logits[0, :2, y, x] = torch.tensor([-5.0, 0.0])
    size = (72, 328)
    expected = F.interpolate(logits, size=size, mode="bilinear").argmax(1)
    assert (expected == 1).sum() == 3 * 4 * 3  # in each of the four cells
    labels = scrn_ops.upsampled_argmax(logits.to(kernels), size)
    assert torch.equal(labels.cpu().long(), expected)


def test_labels_have_no_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    labels, confidence = scrn_ops.upsampled_argmax(logits, (4, 4), with_confidence=True)
    assert not labels.requires_grad
    assert not confidence.requires_grad
