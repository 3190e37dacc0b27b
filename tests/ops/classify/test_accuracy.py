"""Loss and gradient against the chain evaluated in float64, and beside the chain's own error."""

from __future__ import annotations

import pytest
import torch

import scrn_ops

from ..common.maps import BF16, DENSE_LAYOUTS, F16, F32, F64, LAYOUTS
from .cases import OPTIONS, SIZES, Options, Size, chain, exact, loss_and_gradient, loss_inputs

PLAIN = OPTIONS[0]


def check(size, options, dtype, device, align_corners=False, **kwargs):
    logits, target, arguments = loss_inputs(size, options, dtype, device, **kwargs)
    arguments["align_corners"] = align_corners
    loss, gradient = loss_and_gradient(
        scrn_ops.upsampled_cross_entropy, logits, target, **arguments
    )
    want, want_gradient = exact(logits, target, **arguments)
    eager, eager_gradient = loss_and_gradient(chain, logits, target, **arguments)

    def worst(got, expected):
        return ((got - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()

    loss_bound, gradient_bound = 2e-7, 5e-7
    if any(high % low for low, high in zip(size.low, size.high, strict=True)):
        gradient_bound = 1e-6  # the weights of a cell's pixels are rounded, too
    if dtype == F64:
        loss_bound = gradient_bound = 1e-13
    elif dtype != F32:
        # Rounded to the type once or twice: what is kept, and what is scaled.
        gradient_bound = 1.5 * torch.finfo(dtype).eps
    if size.classes == 1:
        assert loss.abs().max() <= 1e-6
        assert gradient.abs().max() <= 1e-6
        return
    if dtype == F32:
        # Where the result itself is small, of many classes or at positions that are rounded, the
        # chain's own error is the bound.
        loss_bound = max(loss_bound, 1.5 * worst(eager, want))
        gradient_bound = max(gradient_bound, 1.5 * worst(eager_gradient, want_gradient))
    assert worst(loss, want) <= loss_bound, f"loss: {worst(loss, want):.3g}"
    assert worst(gradient, want_gradient) <= gradient_bound, (
        f"gradient: {worst(gradient, want_gradient):.3g}"
    )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_float32(kernels, size, options):
    check(size, options, F32, kernels)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_labels_in_squares(kernels, options):
    """Cells of one label, and of several."""
    for size in (Size(2, 19, (17, 33), (68, 132)), Size(1, 11, (12, 12), (47, 47))):
        check(size, options, F32, kernels, labels="squares")


@pytest.mark.parametrize("size", SIZES[:8:3] + SIZES[-3:], ids=str)
def test_align_corners(kernels, size):
    check(size, PLAIN, F32, kernels, align_corners=True)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [F64, F16, BF16], ids=str)
@pytest.mark.parametrize(
    "size", [Size(2, 19, (6, 9), (24, 36)), Size(1, 5, (9, 4), (25, 7))], ids=str
)
def test_other_types(kernels, size, dtype, options):
    for layout in DENSE_LAYOUTS:
        check(size, options, dtype, kernels, layout=layout)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides(kernels, layout, dtype):
    check(Size(2, 21, (5, 18), (20, 72)), OPTIONS[3], dtype, kernels, layout=layout)


@pytest.mark.parametrize("target_dtype", [torch.uint8, torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("high", [(12, 20), (11, 17)], ids=["whole", "other"])
def test_types_of_labels(kernels, target_dtype, high):
    check(Size(2, 7, (3, 5), high), PLAIN, F32, kernels, target_dtype=target_dtype)


def test_a_large_map(kernels):
    check(Size(1, 19, (128, 128), (512, 512)), PLAIN, F32, kernels)


@pytest.mark.parametrize("spread", [1e4, 100.0], ids=["large", "steep"])
@pytest.mark.parametrize("high", [(32, 64), (29, 61)], ids=["whole", "other"])
def test_classes_that_cross_steeply(kernels, high, spread):
    """All classes but one underflow at every node, and all of them between some."""
    options = Options("sum", {"reduction": "sum"})
    check(Size(1, 12, (8, 16), high), options, F32, kernels, spread=spread)


def test_the_gradient_in_float16_does_not_overflow(kernels):
    """The sum over a node's 65,000 pixels is more than float16 holds; the mean is not."""
    size = Size(1, 3, (1, 1), (300, 300))
    logits, target, _ = loss_inputs(size, PLAIN, F16, kernels)
    logits = logits.detach() / 8 - torch.tensor([0.0, 4.0, 4.0], device=kernels).view(1, 3, 1, 1)
    logits = logits.to(F16).requires_grad_()
    target = torch.where(target >= 0, 1, target)
    _, gradient = loss_and_gradient(scrn_ops.upsampled_cross_entropy, logits, target)
    _, want = exact(logits, target)
    torch.testing.assert_close(gradient, want, rtol=2e-3, atol=1e-6)
