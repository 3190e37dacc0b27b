"""What the tests of the network share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrn import SCRN, build_model


def relative(got: Tensor, expected: Tensor) -> float:
    """Relative L2 error; infinite where anything is not finite."""
    error = (got.double() - expected.double()).norm() / expected.double().norm()
    return error.item() if torch.isfinite(error) else float("inf")


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 1) -> nn.Module:
    """Values at which every parameter matters: fresh norms, scales, weights that are learned
    from zero (offsets, attention) hide what is wrong with them."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3, generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
            part.weight.uniform_(0.5, 1.5, generator=generator)
            part.bias.normal_(0, 0.3, generator=generator)
    for name, parameter in module.named_parameters():
        if "layer_scale" in name or name.endswith("gamma"):
            # Larger ones let the gates' products grow beyond all bounds in the deepest networks.
            parameter.uniform_(0.05, 0.15, generator=generator)
    return move_offsets(module, seed)


@torch.no_grad()
def move_offsets(module: nn.Module, seed: int = 1) -> nn.Module:
    """Offsets of up to a pixel or two in place of those of zero that training starts with."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if not parameter.any() and parameter.dim() == 4:
            scale = 0.5 / parameter[0].numel() ** 0.5
            parameter.normal_(0, scale, generator=generator)
    return module


def build(
    backbone: str = "mscan_t",
    upsampler: str = "srm",
    context: str = "crm",
    *,
    num_classes: int = 5,
    ops: str = "fused",
) -> SCRN:
    """A model whose every weight matters, the same for the same arguments."""
    torch.manual_seed(0)
    model = build_model(
        backbone, upsampler=upsampler, context=context, num_classes=num_classes, ops=ops
    )
    return settle(randomise(model))


@torch.no_grad()
def settle(model: SCRN) -> SCRN:
    """Gives the batch norms the statistics of an image: with others the gates, which multiply,
    make values grow beyond all bounds."""
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    # All but the norms as in evaluation, so that no path is dropped at random.
    model.eval()
    for norm in norms:
        norm.train().momentum = 1.0
    model(image(97, 131, seed=5), return_embedding=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.train()


def image(height: int, width: int, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def type_of_logits(device: str, dtype: torch.dtype) -> torch.dtype:
    """Under autocast, which may compute the upsampling that ends the network in float32: CUDA's
    does, the CPU's does not."""
    map = torch.zeros(1, 1, 2, 2, dtype=dtype, device=device)
    with torch.autocast(device, dtype=dtype):
        return F.interpolate(map, size=(4, 4), mode="bilinear").dtype
