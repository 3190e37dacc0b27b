"""The operators as torch sees them: schemas, fakes, autograd, FLOPs, compilation, transforms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

import scrn_ops

from ..common.maps import DENSE_LAYOUTS, DTYPES, F16, F32, F64, leaf

ops = torch.ops.scrn_ops

# Exported programs store these: a change breaks them.
SCHEMAS = """\
scrn_ops::upsampled_cross_entropy(Tensor logits, Tensor target, Tensor? weight=None, \
int reduction=1, int ignore_index=-100, float label_smoothing=0., bool align_corners=False, \
bool need_gradient=False) -> (Tensor loss, Tensor statistics, Tensor gradient)
scrn_ops::upsampled_cross_entropy_backward(Tensor grad, Tensor? logits, Tensor? target, \
Tensor? weight, Tensor? gradient, Tensor? statistics, int reduction, int ignore_index, \
float label_smoothing, bool align_corners) -> Tensor
scrn_ops::upsampled_argmax(Tensor logits, SymInt height, SymInt width, \
bool align_corners=False, bool wide_labels=True, bool with_confidence=False) \
-> (Tensor labels, Tensor confidence)
scrn_ops::upsampled_logits(Tensor logits, SymInt height, SymInt width, \
bool align_corners=False) -> Tensor
"""
NAMES = [line.split("(")[0].split("::")[1] for line in SCHEMAS.splitlines()]


def test_schemas_are_frozen():
    registered = [str(getattr(ops, name).default._schema) for name in NAMES]
    assert "\n".join(registered) + "\n" == SCHEMAS


def calls(device, dtype=F32, layout="nchw", requires_grad=True):
    """Names and positional arguments."""
    values = torch.randn(2, 5, 3, 4, dtype=F64)
    logits = leaf(values, dtype, device, layout).detach().requires_grad_(requires_grad)
    target = torch.randint(0, 5, (2, 6, 9), device=device)
    sums = F64 if dtype == F64 else F32
    weight = torch.rand(5, dtype=sums, device=device)
    plain = logits.detach()
    one = torch.ones((), dtype=sums, device=device)
    statistics = torch.tensor([3.0, 1.0], dtype=F64, device=device)
    pixels = torch.rand(2, 6, 9, dtype=sums, device=device)
    return [
        ("upsampled_cross_entropy", (logits, target, weight, 1, -100, 0.1, False, True)),
        ("upsampled_cross_entropy", (logits, target, None, 2, 3, 0.0, True, True)),
        ("upsampled_cross_entropy", (logits, target, None, 0)),
        ("upsampled_cross_entropy", (plain, target)),
        (
            "upsampled_cross_entropy_backward",
            (pixels, plain, target, weight, None, None, 0, -100, 0.1, False),
        ),
        (
            "upsampled_cross_entropy_backward",
            (one, None, None, None, plain, statistics, 1, -100, 0.0, False),
        ),
        ("upsampled_argmax", (plain, 6, 9)),
        ("upsampled_argmax", (plain, 6, 9, True, False, True)),
    ]


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("index", range(8))
def test_opcheck(device, index, layout):
    name, args = calls(device, layout=layout)[index]
    opcheck(getattr(ops, name).default, args)


def description(result):
    results = result if isinstance(result, tuple) else (result,)
    return [(tuple(t.shape), t.stride(), t.dtype, t.device.type) for t in results]


@pytest.mark.parametrize("layout", [*DENSE_LAYOUTS, "sliced"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fakes_tell_shapes_strides_and_dtypes(device, dtype, layout):
    for name, args in calls(device, dtype, layout, requires_grad=False):
        real = getattr(ops, name)(*args)
        with FakeTensorMode() as mode:
            fakes = [mode.from_tensor(a) if isinstance(a, torch.Tensor) else a for a in args]
            fake = getattr(ops, name)(*fakes)
        assert description(fake) == description(real), name


def test_flops_are_counted(device):
    pixels, classes, low = 2 * 6 * 8, 5, 2 * 5 * 12
    logits = torch.randn(2, 5, 3, 4, device=device, requires_grad=True)
    target = torch.randint(0, 5, (2, 6, 8), device=device)
    with FlopCounterMode(display=False) as counter:
        loss = scrn_ops.upsampled_cross_entropy(logits, target)
    assert counter.get_total_flops() == pixels * classes * (7 + 3 + 9)
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    assert counter.get_total_flops() == low
    with FlopCounterMode(display=False) as counter:
        loss = scrn_ops.upsampled_cross_entropy(logits, target, reduction="none")
        loss.sum().backward()
    assert counter.get_total_flops() == pixels * classes * (7 + 3 + 7 + 3 + 9)
    with FlopCounterMode(display=False) as counter:
        scrn_ops.upsampled_argmax(logits, (6, 8))
    assert counter.get_total_flops() == pixels * classes * (7 + 1)


def double_loss(device, **kwargs):
    logits = torch.randn(2, 3, 2, 3, dtype=F64, device=device, requires_grad=True)
    target = torch.randint(0, 3, (2, 5, 6), device=device)
    target[0, 1] = -100
    weight = torch.rand(3, dtype=F64, device=device) + 0.5
    kwargs |= {"weight": weight, "label_smoothing": 0.1}
    return lambda x: scrn_ops.upsampled_cross_entropy(x, target, **kwargs), logits


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradcheck(kernels, reduction):
    loss, logits = double_loss(kernels, reduction=reduction)
    assert torch.autograd.gradcheck(loss, logits, fast_mode=True)


def test_the_reference_is_twice_differentiable(device):
    loss, logits = double_loss(device, backend="reference")
    assert torch.autograd.gradcheck(loss, logits, fast_mode=True)
    assert torch.autograd.gradgradcheck(loss, logits, fast_mode=True)


def test_second_derivatives_of_the_operator_itself_are_refused(device):
    """What torch.library makes of its autograd records nothing where the forward's values are
    put away."""
    logits = torch.randn(1, 3, 2, 2, device=device, requires_grad=True)
    target = torch.randint(0, 3, (1, 4, 4), device=device)
    loss, *_ = torch.ops.scrn_ops.upsampled_cross_entropy(logits, target, need_gradient=True)
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(NotImplementedError, match="reference"):
        gradient.sum().backward()


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_second_derivatives_and_forward_mode_are_refused(device, reduction):
    logits = torch.randn(1, 3, 2, 2, device=device, requires_grad=True)
    target = torch.randint(0, 3, (1, 4, 4), device=device)

    def loss(x):
        return scrn_ops.upsampled_cross_entropy(x, target, reduction=reduction).sum()

    (gradient,) = torch.autograd.grad(loss(logits), logits, create_graph=True)
    with pytest.raises(NotImplementedError, match="reference"):
        gradient.sum().backward()
    with pytest.raises(NotImplementedError, match="reference"):
        torch.func.grad(lambda x: torch.func.grad(loss)(x).sum())(logits.detach())
    with pytest.raises(NotImplementedError, match="forward-mode"):
        torch.func.jvp(loss, (logits.detach(),), (torch.ones_like(logits),))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_compiled_programs(device, reduction, dynamic):
    def program(x, target):
        loss = scrn_ops.upsampled_cross_entropy(2 * x, target, reduction=reduction)
        return loss.sum(), scrn_ops.upsampled_argmax(x, target.shape[1:])

    compiled = torch.compile(program, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for low, high in (((3, 4), (6, 7)), ((5, 4), (9, 8)), ((4, 6), (4, 11))):
        logits = torch.randn(2, 5, *low, device=device, requires_grad=True)
        target = torch.randint(0, 5, (2, *high), device=device)
        results = []
        for call in (program, compiled):
            loss, labels = call(logits, target)
            results.append((loss, labels, *torch.autograd.grad(loss, logits)))
        for a, b in zip(*results, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_vmap_and_grad_of_samples(device, reduction):
    logits = torch.randn(3, 2, 5, 3, 4, device=device)
    target = torch.randint(0, 5, (3, 2, 6, 7), device=device)

    def loss(x, t):
        return scrn_ops.upsampled_cross_entropy(x, t, reduction=reduction).sum()

    gradients = torch.func.vmap(torch.func.grad(loss))(logits, target)
    losses = torch.func.vmap(loss)(logits, target)
    labels = torch.func.vmap(lambda x: scrn_ops.upsampled_argmax(x, (6, 7)))(logits)
    for i in range(3):
        sample = logits[i].clone().requires_grad_()
        value = loss(sample, target[i])
        assert torch.equal(gradients[i], *torch.autograd.grad(value, sample))
        assert torch.equal(losses[i], value)
        assert torch.equal(labels[i], scrn_ops.upsampled_argmax(sample, (6, 7)))


def test_autocast_changes_nothing(device):
    logits = torch.randn(1, 4, 3, 3, device=device)
    target = torch.randint(0, 4, (1, 6, 6), device=device)
    want = scrn_ops.upsampled_cross_entropy(logits, target)
    half = scrn_ops.upsampled_cross_entropy(logits.to(F16), target)
    with torch.autocast(device, dtype=torch.bfloat16):
        assert torch.equal(scrn_ops.upsampled_cross_entropy(logits, target), want)
        got = scrn_ops.upsampled_cross_entropy(logits.to(F16), target)
        assert got.dtype == F32
        assert torch.equal(got, half)
        for backend in ("eager", "reference"):
            other = scrn_ops.upsampled_cross_entropy(logits, target, backend=backend)
            assert other.dtype == F32
            torch.testing.assert_close(other, want, rtol=2e-2, atol=2e-2)


def test_backends_agree(device):
    logits = torch.randn(2, 5, 4, 6, dtype=F64, device=device)
    target = torch.randint(0, 5, (2, 7, 13), device=device)
    target[:, 2] = 9
    weight = torch.rand(5, device=device) + 0.1
    for reduction in ("mean", "sum", "none"):
        for align_corners in (False, True):
            kwargs = {
                "weight": weight,
                "ignore_index": 9,
                "reduction": reduction,
                "label_smoothing": 0.1,
                "align_corners": align_corners,
            }
            results = [
                scrn_ops.upsampled_cross_entropy(logits, target, backend=backend, **kwargs)
                for backend in ("fused", "eager", "reference")
            ]
            torch.testing.assert_close(results[0], results[1])
            torch.testing.assert_close(results[0], results[2])
    for dtype in (torch.uint8, torch.int64):
        labels = [
            scrn_ops.upsampled_argmax(
                logits, (7, 13), dtype=dtype, with_confidence=True, backend=backend
            )
            for backend in ("fused", "eager", "reference")
        ]
        for other in labels[1:]:
            assert torch.equal(other[0], labels[0][0])
            torch.testing.assert_close(other[1], labels[0][1])


def test_the_module(device):
    weight = torch.rand(5, device=device)
    loss = scrn_ops.UpsampledCrossEntropy(weight, ignore_index=255, label_smoothing=0.1)
    logits = torch.randn(1, 5, 3, 4, device=device)
    target = torch.randint(0, 5, (1, 12, 16), device=device)
    upsampled = F.interpolate(logits, (12, 16), mode="bilinear")
    chain = torch.nn.CrossEntropyLoss(weight, ignore_index=255, label_smoothing=0.1)
    torch.testing.assert_close(loss(logits, target), chain(upsampled, target))
    assert "label_smoothing=0.1" in repr(loss)
    assert set(loss.state_dict()) == {"weight"}


@pytest.mark.parametrize("backend", [None, "eager", "reference"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_meta_tensors(dtype, backend):
    results = []
    for device in ("cpu", "meta"):
        logits = torch.ones(2, 5, 3, 4, dtype=dtype, device=device, requires_grad=True)
        target = torch.zeros(2, 6, 9, dtype=torch.int64, device=device)
        found = []
        for reduction in ("mean", "none"):
            loss = scrn_ops.UpsampledCrossEntropy(reduction=reduction, backend=backend)
            value = loss(logits, target)
            found += [value, *torch.autograd.grad(value.sum(), logits)]
        labels = {"with_confidence": True, "backend": backend}
        found += scrn_ops.upsampled_argmax(logits, (6, 9), **labels)
        assert all(each.device.type == device for each in found)
        results.append([(each.shape, each.dtype) for each in found])
    assert results[0] == results[1]


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_vmap_over_no_samples(device, reduction):
    logits = torch.randn(0, 2, 5, 3, 4, device=device, requires_grad=True)
    target = torch.randint(0, 5, (0, 2, 6, 7), device=device)

    def loss(x, t):
        return scrn_ops.upsampled_cross_entropy(x, t, reduction=reduction)

    losses = torch.func.vmap(loss)(logits, target)
    assert losses.shape == ((0,) if reduction == "mean" else (0, 2, 6, 7))
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert gradient.shape == logits.shape
    shared = torch.func.vmap(loss, in_dims=(0, None))(logits, torch.zeros_like(target.sum(0)))
    assert shared.shape == losses.shape


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_penalty_on_the_gradient_is_refused(device, reduction):
    """Not left out without a word: also behind other operations."""
    logits = torch.randn(1, 3, 2, 2, device=device, requires_grad=True)
    target = torch.randint(0, 3, (1, 4, 4), device=device)
    scaled = 2 * logits
    loss = scrn_ops.upsampled_cross_entropy(scaled, target, reduction=reduction).sum()
    (gradient,) = torch.autograd.grad(loss, scaled, create_graph=True)
    with pytest.raises(NotImplementedError, match="reference"):
        torch.autograd.grad(gradient.square().sum(), logits, allow_unused=True)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradients_of_vmap(device, reduction):
    """A sample that vmap hands out does not require a gradient itself."""
    logits = torch.randn(3, 2, 5, 3, 4, device=device, requires_grad=True)
    target = torch.randint(0, 5, (2, 6, 7), device=device)

    def total(x):
        def loss(sample):
            return scrn_ops.upsampled_cross_entropy(sample, target, reduction=reduction)

        return torch.func.vmap(loss)(x).sum()

    (plain,) = torch.autograd.grad(total(logits), logits)
    transformed = torch.func.grad(total)(logits.detach())
    for i in range(3):
        sample = logits[i].detach().requires_grad_()
        loss = scrn_ops.upsampled_cross_entropy(sample, target, reduction=reduction).sum()
        (want,) = torch.autograd.grad(loss, sample)
        assert torch.equal(plain[i], want)
        assert torch.equal(transformed[i], want)
