"""The network's arguments, sizes and parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from scrn import SCRN, build_model
from scrn.models import BACKBONES, create_backbone, with_ops
from scrn_ops import attention, srm

from .helpers import build, image, relative


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet18"}, r"backbone: expected one of 'mscan_t', .*or 'timm:<name>', got"),
        ({"backbone": "timm:resnet_none"}, r"backbone: timm .* has no model 'resnet_none'"),
        ({"backbone": "timm:vit_tiny_patch16_224"}, r"backbone: expected a timm model with maps"),
        ({"upsampler": "nearest"}, r"upsampler: expected one of 'bilinear'.*got 'nearest'"),
        ({"context": "aspp"}, r"context: expected one of 'f4'.*got 'aspp'"),
        ({"num_classes": 0}, r"num_classes: expected at least 1, got 0"),
        ({"ops": "cuda"}, r"ops: expected 'fused', 'eager' or 'reference', got 'cuda'"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(**({"backbone": "timm:test_resnet"} | arguments))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 64, 64), r"image: expected \[B, 3, H, W\], got \[3, 64, 64\]"),
        ((1, 4, 64, 64), r"image: expected \[B, 3, H, W\], got \[1, 4, 64, 64\]"),
        ((1, 3, 31, 64), r"at least 32, got 31x64"),
        ((1, 3, 64, 16), r"at least 32, got 64x16"),
    ],
)
def test_bad_images(shape: tuple[int, ...], message: str) -> None:
    model = build("timm:test_resnet")
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(shape))


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (63, 32), (90, 161)], ids=str)
@pytest.mark.parametrize("backbone", ["mscan_t", "van_t", "timm:resnet18"])
@torch.no_grad()
def test_sizes(backbone: str, size: tuple[int, int]) -> None:
    model = build(backbone).eval()
    x = image(*size)
    assert model(x).shape == (2, 5, *size)
    assert model(x).isfinite().all()
    for feature, stride in zip(model.backbone(x), (4, 8, 16, 32), strict=True):
        assert feature.shape[2:] == (-(-size[0] // stride), -(-size[1] // stride))


@torch.no_grad()
def test_parts_make_the_whole() -> None:
    model = build("mscan_t").eval()
    x = image(97, 131)
    features = model.backbone(x)
    assert [f.shape[1] for f in features] == list(model.backbone.channels) == [32, 64, 160, 256]
    maps = [model.context(features)]
    assert maps[0].shape == (2, 128, 4, 5)
    assert len(model.upsamplers) == 3
    for level in (2, 1, 0):
        high = model.decoder.laterals[level](features[level])
        maps.insert(0, model.decoder.convs[level](model.upsamplers[level](maps[0], high)))
    for ours, theirs in zip(maps, model.decode(x), strict=True):
        assert torch.equal(ours, theirs)
    logits = torch.nn.functional.interpolate(model.head(maps[0]), (97, 131), mode="bilinear")
    assert relative(model(x), logits) < 1e-6


@torch.no_grad()
def test_the_embedding_has_unit_length_and_serves_training_alone() -> None:
    model = build("timm:test_resnet").eval()
    x = image(64, 96)
    logits, embedding = model(x, return_embedding=True)
    assert embedding.shape == (2, 256, 16, 24)
    assert torch.allclose(embedding.norm(dim=1), torch.ones(2, 16, 24), atol=1e-5)
    for parameter in model.embedding.parameters():
        parameter.fill_(float("nan"))
    assert torch.equal(model(x), logits)


def test_the_weights_are_the_same_for_all_ops() -> None:
    states = []
    for ops in ("fused", "eager", "reference"):
        torch.manual_seed(0)
        states.append(build_model("timm:test_resnet", ops=ops).state_dict())
    for state in states[1:]:
        assert all(torch.equal(state[key], value) for key, value in states[0].items())


@pytest.mark.parametrize("rewrite", [lambda model: model, SCRN.fuse], ids=["model", "fused"])
@torch.no_grad()
def test_the_same_weights_with_other_ops(rewrite: Callable[[SCRN], SCRN], monkeypatch) -> None:
    """Both kinds of op run by the other backend, in the copy alone."""
    calls = []
    for module, name in (
        (srm.reference, "semantic_refine"),
        (attention.reference, "whitened_attention"),
    ):
        op = getattr(module, name)
        record = partial(lambda op, name, *a, **k: calls.append(name) or op(*a, **k), op, name)
        monkeypatch.setattr(module, name, record)
    model = rewrite(build("timm:test_resnet").eval())
    made = with_ops(nn.Sequential(model), "reference")[0]
    assert type(made) is type(model)
    for (name, ours), theirs in zip(model.named_parameters(), made.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
        assert ours.data_ptr() != theirs.data_ptr(), name
    x = image(64, 96)
    expected = model(x)
    assert calls == []
    assert relative(made(x), expected) < 1e-4
    assert sorted(calls) == ["semantic_refine"] * 3 + ["whitened_attention"]
    with pytest.raises(ValueError, match="ops: expected 'fused', 'eager' or 'reference', got 'c'"):
        with_ops(model, "c")


@pytest.mark.parametrize("ops", ["fused", "eager", "reference"])
@pytest.mark.parametrize(
    ("upsampler", "context"), [("srm", "crm"), ("fam", "dam"), ("align_fa", "ccam")]
)
def test_meta_tensors(upsampler: str, context: str, ops: str) -> None:
    """A network of whatever size can be planned without memory for it."""
    with torch.device("meta"):
        model = build_model("timm:test_resnet", upsampler=upsampler, context=context, ops=ops)
        x = torch.empty(2, 3, 64, 96, requires_grad=True)
    logits, embedding = model(x, return_embedding=True)
    assert logits.is_meta
    assert (logits.shape[2:], embedding.shape) == ((64, 96), (2, 256, 16, 24))
    (logits.sum() + embedding.sum()).backward()
    assert x.grad.is_meta
    assert x.grad.shape == x.shape


def test_widths() -> None:
    assert SCRN("timm:test_resnet", width=48).decode(image(64, 64))[0].shape[1] == 48
    with pytest.raises(ValueError, match="width: expected at least 1, got 0"):
        SCRN("timm:test_resnet", width=0)
    for name in BACKBONES:
        with torch.device("meta"):
            channels = create_backbone(name).channels
        assert sum(channels) == (512 if name.endswith("_t") else 1024)


def test_dropped_paths() -> None:
    """Whole samples, more often in deeper blocks."""
    drops = [m for m in create_backbone("mscan_t").modules() if isinstance(m, StochasticDepth)]
    values = drops[-1](torch.ones(4000, 1, 2, 2)).flatten(1)
    assert sorted(set(values.flatten().tolist())) == pytest.approx([0.0, 1 / 0.9])
    assert (values == values[:, :1]).all()
    rates = [drop.p for drop in drops]
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0.1)
    assert rates == sorted(rates)


@torch.no_grad()
def test_segment_is_the_argmax_of_the_logits() -> None:
    model = build("timm:test_resnet").eval()
    x = image(64, 90)
    logits = model(x)
    best = logits.topk(2, 1)
    clear = best.values[:, 0] - best.values[:, 1] > 1e-5 * logits.abs().max()
    for each in (model, with_ops(model, "eager"), model.fuse()):
        labels = each.segment(x)
        assert labels.dtype == torch.int64
        assert (labels == best.indices[:, 0])[clear].float().mean() > 0.999
    assert model.segment(x, (33, 47)).shape == (2, 33, 47)
    seen = []
    model.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    model.segment(x)
    assert len(seen) == 1
    low = model(x, full_size=False)
    assert low.shape == (2, 5, 16, 23)
    upsampled = torch.nn.functional.interpolate(low, (64, 90), mode="bilinear")
    torch.testing.assert_close(upsampled, logits)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("ops", ["fused", "eager", "reference"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_a_trace_serves_other_sizes(ops: str, layout: torch.memory_format) -> None:
    model = with_ops(build("timm:test_resnet").eval(), ops)
    for each in (model, model.fuse()):
        traced = torch.jit.trace(each, image(64, 96).to(memory_format=layout))
        other = image(96, 160).to(memory_format=layout)
        torch.testing.assert_close(traced(other), each(other), rtol=1e-4, atol=1e-5)


@torch.no_grad()  # a program that differentiates takes the chain anyway
def test_an_exported_network_has_no_operator_for_the_cpu_alone() -> None:
    """It may be moved to another device, or translated by others."""
    model = build("timm:test_resnet", upsampler="bilinear", context="ppm").eval()
    exported = torch.export.export(model, (image(64, 96),))
    assert "scrn_ops" not in str(exported.graph)
    relative_error = relative(exported.module()(image(64, 96)), model(image(64, 96)))
    assert relative_error < 1e-5


class Unscriptable(nn.Module):
    """A model of a user's, which holds ours."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = build("timm:test_resnet")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


@pytest.mark.parametrize("holder", [lambda: build("timm:test_resnet"), Unscriptable])
def test_scripting_and_symbolic_tracing_are_refused(holder: Callable[[], nn.Module]) -> None:
    model = holder().eval()
    with pytest.raises(NotImplementedError, match=r"torch\.jit\.script: .* of SCRN; torch\.exp"):
        torch.jit.script(model)
    with pytest.raises(NotImplementedError, match=r"image: torch\.fx\.symbolic_trace knows"):
        torch.fx.symbolic_trace(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": "19"}, "num_classes: expected an int, got '19'"),
        ({"num_classes": True}, "num_classes: expected an int, got True"),
        ({"num_classes": 19.0}, r"num_classes: expected an int, got 19\.0"),
        ({"pretrained": True}, "pretrained: expected the path of a checkpoint, got True"),
    ],
)
def test_arguments_of_another_type(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        build_model(**({"backbone": "timm:test_resnet"} | arguments))


def test_images_of_another_type() -> None:
    model = build("timm:test_resnet").eval()
    photo = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    for method in (model, model.segment, model.decode, model.fuse()):
        with pytest.raises(TypeError, match=r"image: expected floating-point .* got torch\.uint8"):
            method(photo)
        with pytest.raises(TypeError, match=r"image: expected a torch\.Tensor, got ndarray"):
            method(photo.numpy())


@pytest.mark.parametrize(("context", "size"), [("crm", 32), ("ppm", 64)])
def test_an_image_too_small_for_statistics(context: str, size: int) -> None:
    model = build("timm:test_resnet", "bilinear", context).train()
    message = rf"image: expected at least two images.*got \[1, 3, {size}, {size}\]"
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(1, 3, size, size))
    assert model(torch.randn(2, 3, size, size)).isfinite().all()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    assert model(torch.randn(1, 3, size, size)).isfinite().all()
