"""The network, with weights at which every part matters, in the variants that are compared."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scrn import SCRN, build_model
from scrn.models import with_ops
from scrn_ops import SemanticRefinement

OFFSET_PIXELS = 1.5  # root mean square of the offsets' lengths, as after training


def variant(
    original: SCRN,
    ops: str,
    fuse: bool,
    layout: torch.memory_format,
    dtype: torch.dtype | None = None,
) -> SCRN:
    """A variant of a model, in evaluation mode; the original stays as it is. ``dtype`` is that of
    ``fuse()``."""
    made = with_ops(original, ops).eval()
    return (made.fuse(dtype) if fuse else made).to(memory_format=layout)


@torch.no_grad()
def calibrated(backbone: str, num_classes: int, image: Tensor) -> SCRN:
    """An untrained model that behaves as a trained one does: its batch norms hold the statistics
    of the image, and its offsets are a pixel or two instead of zero."""
    torch.manual_seed(0)
    model = build_model(backbone, num_classes=num_classes)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the plain average over all batches
    model.train()(torch.cat((image, image.flip(3))))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    displace(model.eval(), image)
    return model


@torch.no_grad()
def displace(model: SCRN, image: Tensor) -> None:
    """Gives the upsamplers offsets of a pixel or two on this image, as training does."""
    handles = [module.register_forward_pre_hook(_scale_offsets) for module in model.upsamplers]
    model(image)
    for handle in handles:
        handle.remove()


def _scale_offsets(module: nn.Module, inputs: Any) -> None:
    if not isinstance(module, SemanticRefinement):
        raise TypeError(f"upsampler: expected SemanticRefinement, got {type(module).__name__}")
    last = module.offset[-1]
    last.weight.normal_()
    length = module.predict(*inputs)[0].square().sum(1).mean().sqrt()
    last.weight.mul_(OFFSET_PIXELS / length)


def forbid_tf32() -> None:
    """In every process that runs the network: cuDNN's convolutions are in TF32 by default, which
    is off by 3e-3, and the gate judges float32."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
