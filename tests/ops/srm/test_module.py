"""SemanticRefinement: structure, start, precision, errors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import scrn_ops
from scrn_ops import SemanticRefinement

from ..common.maps import BF16, F16

NAMES = [
    "compress_low.weight",
    "compress_low.bias",
    "compress_high.weight",
    "compress_high.bias",
    *(
        f"{branch}.{name}"
        for branch in ("offset", "mask")
        for name in (
            "0.weight",
            "1.weight",
            "1.bias",
            "1.running_mean",
            "1.running_var",
            "1.num_batches_tracked",
            "3.weight",
            "3.bias",
        )
    ),
]


def trained(module):
    """Offsets of a pixel or so."""
    torch.nn.init.normal_(module.offset[-1].weight, std=0.2)
    torch.nn.init.normal_(module.offset[-1].bias, std=0.5)
    return module


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("sizes", [((4, 5), (8, 10)), ((23, 12), (45, 24)), ((6, 6), (6, 6))])
def test_untrained_it_is_bilinear_upsampling(device, sizes, align_corners):
    low, high = torch.randn(2, 6, *sizes[0]), torch.randn(2, 6, *sizes[1])
    low, high = low.to(device), high.to(device)
    upsampled = F.interpolate(low, size=sizes[1], mode="bilinear", align_corners=align_corners)
    module = SemanticRefinement(6, 6, align_corners=align_corners).to(device)
    torch.testing.assert_close(module(low, high), upsampled + high)
    module = SemanticRefinement(6, 6, align_corners=align_corners, add_skip=False).to(device)
    torch.testing.assert_close(module(low, high), upsampled)


@pytest.mark.parametrize("add_skip", [False, True])
def test_it_is_the_ops_on_its_branches(device, add_skip):
    """Against the same in the paper's order: compress the upsampled map, softmax, reference."""
    module = SemanticRefinement(8, 8, compress=5, hidden=7, add_skip=add_skip)
    module = trained(module).to(device).double()
    low = torch.randn(2, 8, 4, 6, dtype=torch.float64, device=device)
    high = torch.randn(2, 8, 7, 11, dtype=torch.float64, device=device)
    output = module(low, high)
    upsampled = F.interpolate(low, size=(7, 11), mode="bilinear")
    features = torch.cat((module.compress_low(upsampled), module.compress_high(high)), 1)
    expected = scrn_ops.reference.semantic_refine(
        low,
        module.offset(features),
        module.mask(features).softmax(1),
        high if add_skip else None,
    )
    torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", ["fused", "eager", "reference"])
def test_backends_agree(device, backend):
    modules = [trained(SemanticRefinement(4, 4, hidden=8, backend=b)) for b in (backend, None)]
    modules[1].load_state_dict(modules[0].state_dict())
    low, high = torch.randn(2, 4, 5, 5, device=device), torch.randn(2, 4, 9, 9, device=device)
    results = []
    for module in modules:
        module.to(device)
        output = module(low, high)
        gradients = torch.autograd.grad(output.square().sum(), list(module.parameters()))
        results.append((output, *gradients))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


def test_every_parameter_gets_a_gradient(device):
    module = trained(SemanticRefinement(4, 4)).to(device)
    low = torch.randn(2, 4, 5, 5, device=device, requires_grad=True)
    high = torch.randn(2, 4, 10, 10, device=device, requires_grad=True)
    module(low, high).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    assert low.grad.abs().sum() > 0
    assert high.grad.abs().sum() > 0


def test_the_last_offset_convolution_learns_from_zero(device):
    module = SemanticRefinement(4, 4).to(device)
    module(
        torch.randn(2, 4, 5, 5, device=device), torch.randn(2, 4, 10, 10, device=device)
    ).square().sum().backward()
    assert module.offset[-1].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_offsets_are_float32_under_autocast(device, dtype):
    module = trained(SemanticRefinement(4, 4)).to(device)
    low, high = torch.randn(2, 4, 5, 5, device=device), torch.randn(2, 4, 10, 10, device=device)
    with torch.autocast(device, dtype=dtype):
        offset, logits = module.predict(low, high)
        output = module(low, high)
    assert (offset.dtype, logits.dtype, output.dtype) == (torch.float32, dtype, dtype)
    output.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in module.parameters())


@pytest.mark.parametrize("dtype", [BF16, torch.float64], ids=str)
def test_parameters_of_another_type(device, dtype):
    module = trained(SemanticRefinement(4, 4)).to(device, dtype)
    low = torch.randn(2, 4, 5, 5, device=device, dtype=dtype)
    high = torch.randn(2, 4, 10, 10, device=device, dtype=dtype)
    offset, _ = module.predict(low, high)
    assert offset.dtype == (torch.float32 if dtype == BF16 else dtype)
    output = module(low, high)
    assert output.dtype == dtype
    output.sum().backward()
    assert module.offset[-1].weight.grad.dtype == dtype


def test_channels_last(device):
    module = trained(SemanticRefinement(8, 8)).to(device, memory_format=torch.channels_last)
    low = torch.randn(2, 8, 5, 5, device=device).contiguous(memory_format=torch.channels_last)
    high = torch.randn(2, 8, 10, 10, device=device).contiguous(memory_format=torch.channels_last)
    assert module(low, high).is_contiguous(memory_format=torch.channels_last)


def test_state_dict_names_are_stable():
    assert list(SemanticRefinement(8, 8).state_dict()) == NAMES


def test_parameters_of_the_paper():
    """128 channels: 0.070 M parameters."""
    count = sum(p.numel() for p in SemanticRefinement(128, 128).parameters())
    convolutions = 2 * (128 * 64 + 64) + 2 * 128 * 32 * 9 + (32 * 2 * 9 + 2) + (32 * 9 + 9)
    assert count == convolutions + 2 * 2 * 32


def test_representation():
    text = repr(SemanticRefinement(16, 8, add_skip=False, backend="eager"))
    assert "16, 8, add_skip=False, align_corners=False, backend='eager'" in text


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((8, 16), {}, "add_skip: expected low_channels == high_channels, got 8 and 16"),
        ((0, 0), {}, "low_channels: expected at least 1, got 0"),
        ((8, 8), {"compress": 0}, "compress: expected at least 1"),
        ((8, 8), {"hidden": -1}, "hidden: expected at least 1"),
        ((8, 8), {"backend": "cudnn"}, "backend: expected None, 'fused'"),
    ],
)
def test_bad_construction(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        SemanticRefinement(*arguments, **options)


@pytest.mark.parametrize("name", ["add_skip", "align_corners"])
def test_flags_are_bools(name):
    with pytest.raises(TypeError, match=f"{name}: expected True or False, got None"):
        SemanticRefinement(8, 8, **{name: None})


def test_bad_maps(device):
    module = SemanticRefinement(4, 6, add_skip=False).to(device)
    low, high = torch.randn(1, 4, 3, 3, device=device), torch.randn(1, 6, 6, 6, device=device)
    assert module(low, high).shape == (1, 4, 6, 6)
    with pytest.raises(ValueError, match=r"low: expected \[B, 4, H, W\], got \[1, 6, 6, 6\]"):
        module(high, high)
    with pytest.raises(ValueError, match=r"high: expected \[B, 6, H, W\]"):
        module(low, high[0])
    with pytest.raises(ValueError, match="low: expected a map no larger"):
        module(torch.randn(1, 4, 7, 3, device=device), high)


def spoiled():
    low, high = torch.randn(2, 4, 3, 3), torch.randn(2, 6, 6, 6)
    for name, bad, error, message in (
        ("low", [[1.0]], TypeError, "expected a Tensor, got list"),
        ("high", None, TypeError, "expected a Tensor, got NoneType"),
        ("low", low.long(), TypeError, "expected dtype float32, .*int64"),
        ("high", high.long(), TypeError, "expected dtype float32, .*int64"),
        ("low", low.double(), TypeError, "expected the module's dtype torch.float32, got .*64"),
        ("high", high.double(), TypeError, "expected the module's dtype torch.float32, got .*64"),
        ("high", high.bfloat16(), TypeError, "expected the module's dtype torch.float32"),
        ("low", low.to_sparse(), NotImplementedError, "expected a dense tensor"),
        ("low", low[:, :, :0], ValueError, r"a height .* at least 1, got \[2, 4, 0, 3\]"),
        ("high", high[..., :0], ValueError, r"a width of at least 1, got \[2, 6, 6, 0\]"),
        ("high", high[:1], ValueError, r"expected low's batch of 2, got \[1, 6, 6, 6\]"),
        ("high", high.to("meta"), ValueError, "expected low's device cpu, got meta"),
        ("low", torch.randn(2, 4, 7, 3), ValueError, "no larger than high's 6x6, got 7x3"),
    ):
        maps = {"low": low, "high": high} | {name: bad}
        yield pytest.param(maps, error, f"{name}: .*{message}", id=f"{name}-{message[:30]}")


@pytest.mark.parametrize(("maps", "error", "message"), list(spoiled()))
def test_bad_maps_are_named(maps, error, message):
    module = SemanticRefinement(4, 6, add_skip=False)
    for call in (module, module.predict):
        with pytest.raises(error, match=message):
            call(**maps)


def test_maps_of_another_type_under_autocast(device):
    """It casts what the convolutions take, but nothing that is float64."""
    low, high = torch.randn(1, 4, 3, 3, device=device), torch.randn(1, 4, 6, 6, device=device)
    for dtype in (torch.float32, BF16):
        module = SemanticRefinement(4, 4).to(device, dtype)
        with torch.autocast(device, dtype=BF16):
            for given in (torch.float32, BF16, F16):
                assert module(low.to(given), high).dtype == BF16
            with pytest.raises(TypeError, match="low: expected the module's dtype"):
                module(low.double(), high)


def test_export_and_meta_tensors():
    module = SemanticRefinement(4, 4).eval()
    low, high = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 6, 6)
    sizes = {0: torch.export.Dim("b"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    tall = {0: sizes[0], 2: 2 * sizes[2], 3: 2 * sizes[3]}
    program = torch.export.export(module, (low, high), dynamic_shapes=(sizes, tall)).module()
    low, high = torch.randn(3, 4, 4, 5), torch.randn(3, 4, 8, 10)
    torch.testing.assert_close(program(low, high), module(low, high))
    assert module.to("meta")(low.to("meta"), high.to("meta")).shape == (3, 4, 8, 10)


def test_another_module_may_take_the_place_of_a_convolution(device):
    module = SemanticRefinement(4, 4).to(device)
    low, high = torch.randn(1, 4, 3, 3, device=device), torch.randn(1, 4, 6, 6, device=device)
    expected = module(low, high)
    module.compress_low = torch.nn.Sequential(module.compress_low)
    assert torch.equal(module(low, high), expected)
