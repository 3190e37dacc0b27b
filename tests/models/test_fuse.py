"""The network rewritten for inference."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from scrn.models import fused_layers, fusion, network
from scrn.models.backbones.large_kernel import Block
from scrn.models.conv_folding import channel_affine, fold_after, fold_before, scale_output
from scrn.models.packed_conv import PackedConv2d, pack_convolutions
from scrn_ops.modules import OffsetConv2d

from .helpers import build, image, randomise, relative


def norm(channels: int, seed: int = 1) -> nn.BatchNorm2d:
    return randomise(nn.BatchNorm2d(channels), seed).eval()


@torch.no_grad()
def test_folding_is_exact() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 7, 9)
    for conv in (
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4),
    ):
        behind = norm(conv.out_channels)
        before = {key: value.clone() for key, value in conv.state_dict().items()}
        assert relative(fold_after(conv, behind)(x), behind(conv(x))) < 1e-6
        assert all(torch.equal(before[key], value) for key, value in conv.state_dict().items())
    pointwise, ahead = nn.Conv2d(4, 6, 1), norm(4)
    assert relative(fold_before(ahead, pointwise)(x), pointwise(ahead(x))) < 1e-6
    scale = torch.randn(6)
    scaled = scale_output(pointwise, scale)(x)
    assert relative(scaled, scale[:, None, None] * pointwise(x)) < 1e-6


def test_what_cannot_be_folded_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one without padding and groups"):
        fold_before(norm(4), nn.Conv2d(4, 4, 3, padding=1))
    with pytest.raises(ValueError, match="expected running statistics"):
        channel_affine(nn.BatchNorm2d(4, track_running_stats=False))


@pytest.mark.parametrize("backbone", ["mscan_t", "van_t", "timm:tf_efficientnet_lite0"])
@torch.no_grad()
def test_no_norm_is_left_and_the_model_stays_as_it_was(backbone: str) -> None:
    model = build(backbone).eval()
    before = copy.deepcopy(model.state_dict())
    x = image(64, 96)
    expected = model(x)
    fused = model.fuse()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    fused(x)
    assert torch.equal(model(x), expected)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("backbone", "activation", "absorbed"),
    [
        ("timm:tf_efficientnet_lite0", "relu6", 32),
        ("timm:test_resnet", "relu", 8),  # all but the four behind a shortcut's sum
        ("timm:mobilenetv3_small_050", "hardswish", 18),
    ],
)
@torch.no_grad()
def test_convolutions_of_timm_apply_what_follows(
    backbone: str, activation: str, absorbed: int
) -> None:
    model = build(backbone).eval()
    x = image(64, 96).to(memory_format=torch.channels_last)
    fused = model.fuse()
    found = [m for m in fused.backbone.modules() if isinstance(m, PackedConv2d) and m.activation]
    assert sum(conv.activation == activation for conv in found) == absorbed
    assert relative(fused(x), model(x)) < 1e-5


class Doubles(nn.Identity):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Body(nn.Module):
    """A convolution in groups with a norm, and what follows, in the ways of timm's models."""

    def __init__(self, between: nn.Module | None = None, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.norm = randomise(norm or nn.BatchNorm2d(8), 1)
        self.between = between or nn.Identity()
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.between(self.norm(self.conv(x))))


class Twice(Body):
    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


class Seen(Body):
    def forward(self, x: Tensor) -> Tensor:
        normalised = self.norm(self.conv(x))
        return self.act(normalised) + normalised


class TwoNames(Body):
    def __init__(self) -> None:
        super().__init__()
        self.second = self.act

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.norm(self.conv(x)))


def hooked(name: str) -> Body:
    body = Body()
    part = body.get_submodule(name)
    part.register_forward_hook(lambda _, inputs, output: setattr(body, "seen", output.clone()))
    return body


@pytest.mark.parametrize(
    ("body", "activation"),
    [
        (Body(), "silu"),
        (Body(norm=BatchNormAct2d(8, act_layer=nn.Hardswish)), "hardswish"),  # and SiLU behind
        (Body(norm=BatchNormAct2d(8, act_layer=nn.LeakyReLU)), None),
        (Body(norm=BatchNormAct2d(8, drop_layer=nn.Dropout, act_layer=nn.ReLU6)), None),
        (Body(between=Doubles()), None),
        (Body(between=nn.MaxPool2d(2)), None),
        (Twice(), None),
        (Seen(), None),
        (TwoNames(), None),
        (hooked("act"), None),
        (hooked("between"), None),
        (hooked("norm"), None),
    ],
    ids=["plain", "own", "other", "drop", "identity", "pool", "twice", "seen", "names", "hook-act",
         "hook-between", "hook-norm"],
)  # fmt: skip
@torch.no_grad()
def test_an_activation_is_applied_where_nothing_else_is_changed(
    body: Body, activation: str | None
) -> None:
    x = torch.randn(2, 8, 9, 11, generator=torch.Generator().manual_seed(0))
    x = x.to(memory_format=torch.channels_last)
    expected = body.eval()(x)
    seen = body.__dict__.pop("seen", None)
    fusion._fold_traced(body)
    pack_convolutions(body)
    assert relative(body(x), expected) < 1e-6
    assert seen is None or relative(body.seen, seen) < 1e-6
    assert isinstance(body.conv, PackedConv2d)
    assert body.conv.activation == activation
    assert body.conv._packed is not None


@torch.no_grad()
def test_a_model_in_training_is_fused_as_it_evaluates() -> None:
    model = build("timm:test_resnet").train()
    x = image(64, 96)
    fused = model.fuse()
    assert model.training
    assert relative(fused(x), model.eval()(x)) < 1e-5


@pytest.mark.parametrize("batch", [1, 2])
@torch.no_grad()
def test_bands_are_the_whole(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every remainder of the height by the band."""
    torch.manual_seed(0)
    block = randomise(Block(8, 4, 0.0, fused_layers.MultiScaleGate)).eval()
    module = fused_layers.FusedBlock(block).to(memory_format=torch.channels_last)
    calls = []
    band = fused_layers.FusedMlp._band

    def counted(self: nn.Module, x: Tensor, output: Tensor, start: int, stop: int) -> None:
        calls.append((start, stop))
        band(self, x, output, start, stop)

    monkeypatch.setattr(fused_layers.FusedMlp, "_band", counted)
    monkeypatch.setattr(fused_layers, "_BAND", 5 * 32 * 11)  # rows of 11 pixels, hidden maps of 32
    for height in range(4, 23):
        calls.clear()
        x = torch.randn(batch, 8, height, 11).contiguous(memory_format=torch.channels_last)
        assert relative(module(x.clone(memory_format=torch.preserve_format)), block(x)) < 1e-5
        assert len(calls) == (batch * -(-height // 5) if height > 5 else 0)


@torch.no_grad()
def test_dtype_and_layout_are_kept() -> None:
    model = build("mscan_t").eval().double().to(memory_format=torch.channels_last)
    x = image(64, 96).double().contiguous(memory_format=torch.channels_last)
    fused = model.fuse()
    assert {p.dtype for p in fused.parameters()} == {torch.float64}
    assert relative(fused(x), model(x)) < 1e-12


HALF_TYPES = (torch.bfloat16, torch.float16)


@pytest.mark.parametrize(
    ("parts", "layout", "bound"),
    [
        (("mscan_t", "srm", "crm"), torch.channels_last, 1.35),
        # Between 1.28 and 1.43, by the instruction set.
        (("van_t", "align_fa", "dappm"), torch.contiguous_format, 1.7),
        (("timm:test_resnet", "fam", "dam"), torch.channels_last, 1.35),
    ],
    ids=str,
)
@torch.no_grad()
def test_half_types(parts: tuple[str, ...], layout: torch.memory_format, bound: float) -> None:
    """Maps of a half type lose what autocast loses, and little more: there sums are float32."""
    model = build(*parts).eval()
    fused = {dtype: model.fuse(dtype).to(memory_format=layout) for dtype in HALF_TYPES}
    autocast, errors = 0.0, dict.fromkeys(HALF_TYPES, 0.0)
    for seed in range(4):  # of one image the ratio of two errors is between 0.9 and 2
        x = torch.randn(2, 3, 97, 131, generator=torch.Generator().manual_seed(seed))
        expected = model(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            autocast += relative(model(x), expected)
        for dtype, copied in fused.items():
            logits = copied(x.contiguous(memory_format=layout))
            assert logits.dtype == torch.float32
            errors[dtype] += relative(logits, expected)
    assert errors[torch.bfloat16] < bound * autocast
    # Three bits more, and what the norms that stay and the offsets keep.
    assert errors[torch.float16] < errors[torch.bfloat16] / 4


@torch.no_grad()
def test_shortcuts_keep_small_layer_scales_in_half_types() -> None:
    """1.004 is 1 in bfloat16, for every pixel of every image."""
    torch.manual_seed(0)
    block = randomise(Block(8, 4, 0.0, fused_layers.MultiScaleGate)).eval()
    for scale in (block.layer_scale_1, block.layer_scale_2):
        scale.fill_(0.003)
    x = torch.randn(1, 8, 12, 11)
    expected = block(x)
    fused = fused_layers.FusedBlock(block)
    slope = block.layer_scale_1 * channel_affine(block.norm1)[0]
    fusion.round_layers(fused, torch.bfloat16)
    assert fused.shortcut.dtype == fused.proj_1.weight.dtype == torch.bfloat16
    torch.testing.assert_close(fused.shortcut.flatten().double(), slope, rtol=2**-8, atol=0)
    result = fused(x.bfloat16())
    assert result.dtype == torch.bfloat16
    # The input and two sums of maps are rounded, to 8 bits each.
    assert relative(result, expected) < 2**-8


@torch.no_grad()
def test_a_block_keeps_autocasts_type() -> None:
    fused = fused_layers.FusedBlock(randomise(Block(8, 4, 0.0, fused_layers.MultiScaleGate)).eval())
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(1, 8, 12, 11).bfloat16().contiguous(memory_format=layout)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert fused(x).dtype == torch.bfloat16


WIDE = (OffsetConv2d, nn.BatchNorm2d)


@pytest.mark.parametrize("parts", [("timm:test_resnet", "align_fa", "dappm"), ("van_t", "srm")])
def test_what_of_a_network_in_a_half_type_is_float32(parts: tuple[str, ...]) -> None:
    """What predicts offsets, batch norms that stay and the last layer."""
    fused = build(*parts).fuse(torch.bfloat16)
    modules = dict(fused.named_modules())
    tensors = dict(fused.named_parameters()) | dict(fused.named_buffers())
    for name, tensor in tensors.items():
        holder = modules[name.rpartition(".")[0]]
        wide = isinstance(holder, WIDE) or name.startswith("head.3.")
        if tensor.is_floating_point():
            assert tensor.dtype == (torch.float32 if wide else torch.bfloat16), name
    seen = []
    hook = fused.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.float32):
            assert fused(image(64, 64).to(dtype)).dtype == torch.float32
    hook.remove()
    assert seen == 3 * [torch.bfloat16]


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@torch.no_grad()
def test_a_network_of_any_type_is_rounded_and_may_be_cast(stored: torch.dtype) -> None:
    model = build("timm:test_resnet").eval()
    x = image(64, 96)
    expected = model(x)
    fused = model.to(stored).fuse(torch.bfloat16)
    assert relative(fused(x), expected) < 0.1
    for cast in (fused.float, fused.half, fused.double, fused.bfloat16):
        assert relative(cast()(x).float(), expected) < 0.1


def test_types_that_are_refused() -> None:
    model = build("timm:test_resnet")
    for dtype in (torch.float32, torch.int8):
        with pytest.raises(ValueError, match=r"dtype: expected torch\.bfloat16, torch\.float16 or"):
            model.fuse(dtype)
    with pytest.raises(TypeError, match=r"dtype: expected a torch\.dtype or None, got 'bf"):
        model.fuse("bfloat16")  # type: ignore[arg-type]
    with torch.no_grad():
        model.head[0].weight[0, 0] = 1e30
    assert model.fuse(torch.bfloat16)
    with pytest.raises(ValueError, match=r"dtype: expected weights within torch\.float16's range"):
        model.fuse(torch.float16)


def test_what_is_shared_or_not_saved_stays_so() -> None:
    layers = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm2d(3))
    layers[1].weight = layers[0].weight
    layers[0].register_buffer("table", torch.ones(3), persistent=False)
    fusion.round_layers(layers, torch.bfloat16)
    assert layers[1].weight is layers[0].weight
    assert layers[0].table.dtype == layers[0].weight.dtype == torch.bfloat16
    assert "0.table" not in layers.state_dict()
    assert layers[2].running_var.dtype == layers[2].weight.dtype == torch.float32


def test_a_fused_model_compiles_and_exports() -> None:
    fused = build("mscan_t").fuse()
    x = image(64, 96)
    torch._dynamo.reset()
    compiled = torch.compile(fused, fullgraph=True, backend="aot_eager")
    assert relative(compiled(x), fused(x)) < 1e-5
    program = torch.export.export(fused, (x,))
    assert relative(program.module()(x), fused(x)) < 1e-5


def test_what_a_fused_model_refuses(tmp_path: Path) -> None:
    fused = build("timm:test_resnet").fuse()
    with pytest.raises(ValueError, match="train: a fused model is for inference"):
        fused.train()
    assert fused.eval() is fused
    with pytest.raises(ValueError, match="fuse: the model is fused already"):
        fused.fuse()
    with pytest.raises(ValueError, match="save_pretrained: a fused model cannot be built again"):
        fused.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="return_embedding: a fused model has no embedding head"):
        fused(image(64, 64), return_embedding=True)
    with pytest.raises(ValueError, match=f"at least {network.MIN_SIZE}"):
        fused(torch.zeros(1, 3, 31, 64))


def test_a_backbone_that_cannot_be_traced_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: object, root: nn.Module) -> None:
        raise TypeError("control flow")

    monkeypatch.setattr(fusion._Tracer, "trace", fail)
    model = build("timm:test_resnet").eval()
    with caplog.at_level(logging.WARNING):
        fused = model.fuse()
    assert "keeps its batch norms: torch.fx cannot trace it: control flow" in caplog.text
    x = image(64, 96)
    with torch.no_grad():
        assert relative(fused(x), model(x)) < 1e-5
