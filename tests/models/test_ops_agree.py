"""The network through the fused ops is the one through their definition, also in its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from scrn import SCRN
from scrn.models import UPSAMPLERS, with_ops

from .helpers import build, image, relative
from .networks import COVERING, Network

NETWORKS = [n for n in COVERING if n.is_tiny and (n.upsampler != "bilinear" or n.context == "crm")]


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_fused_ops_are_their_definition(network: Network, training: bool) -> None:
    assert_ops_agree(network, training, "cpu")


def assert_ops_agree(network: Network, training: bool, device: str) -> None:
    model = without_chance(between_pixels(build(*network))).train(training).to(device)
    x = image(97, 131).to(device)
    direction = torch.randn(2, 5, 97, 131).to(device) / 100
    logits, gradients = evaluate(with_ops(model, "fused"), x, direction)
    expected, expected_gradients = evaluate(with_ops(model, "reference"), x, direction)
    assert relative(logits, expected) < 1e-4
    whole = sum(g.norm() ** 2 for g in expected_gradients.values()) ** 0.5
    for name, gradient in gradients.items():
        reference = expected_gradients[name]
        # A bias that a norm or the whitening cancels has a gradient of rounding errors.
        size = max(reference.norm(), 1e-4 * whole)
        assert (gradient - reference).norm() <= 1e-3 * size, name


def evaluate(model: SCRN, x: Tensor, direction: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    logits, embedding = model(x, return_embedding=True)
    ((logits * direction).sum() + embedding.square()[:, :9].mean()).backward()
    return logits.detach(), {name: p.grad.double() for name, p in model.named_parameters()}


def without_chance(model: SCRN) -> SCRN:
    """Without dropped paths, which differ from call to call, and with smooth activations: where
    the input of a ReLU is zero but for rounding, rounding decides about its gradient, which
    also sets the definition in float32 apart from itself in float64."""
    for module in list(model.modules()):
        if isinstance(module, StochasticDepth):
            module.p = 0.0
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU | nn.ReLU6 | nn.LeakyReLU):
                setattr(module, name, nn.SiLU())
    return model


@torch.no_grad()
def between_pixels(model: SCRN) -> SCRN:
    """Offsets that keep off integers, where the gradient jumps: rounding picks the side."""
    for module in model.upsamplers:
        for name, parameter in module.named_parameters():
            if "offset.3" not in name:
                continue
            if name.endswith("weight"):
                parameter.mul_(0.1)
            else:
                parameter.copy_(torch.tensor([0.5, -0.5]))
    return model


def test_the_comparison_sees_a_wrong_op() -> None:
    """An offset of a thousandth of a pixel in one of three upsamplers is too much."""
    assert {network.upsampler for network in NETWORKS} == set(UPSAMPLERS) - {"bilinear"}
    model = between_pixels(build("timm:test_resnet")).eval()
    x, direction = image(97, 131), torch.ones(2, 5, 97, 131)
    expected, _ = evaluate(with_ops(model, "reference"), x, direction)
    with torch.no_grad():
        model.upsamplers[0].offset[3].bias.add_(1e-3)
    logits, _ = evaluate(with_ops(model, "fused"), x, direction)
    assert relative(logits, expected) > 1e-4
