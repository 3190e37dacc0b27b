"""Weights in the order in which the kernels read them."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core.checks import without_autocast

POINTS = 36
PANEL = 16
_FINITE = (0.0, 0.625, -0.625, 1.5, -1.5)  # the sixth point of each dimension is infinity
# [6, 3]: three taps to the values of their polynomial, divided by what Lagrange's interpolation
# divides by (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016; Barabasz
# et al., "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural
# Networks", 2020, on the choice of points).
_AT_POINTS = [
    [x**power / prod(x - other for other in _FINITE if other != x) for power in range(3)]
    for x in _FINITE
] + [[0.0, 0.0, 1.0]]


def packed_shape(weight: Tensor) -> tuple[int, int, int, int]:
    features, channels = weight.shape[:2]
    return POINTS, -(-features // PANEL), channels, PANEL


def pack(weight: Tensor) -> Tensor:
    """[36, ceil(F / 16), C, 16] of a weight [F, C, 3, 3]: computed in float64, and by panels, so
    that little lies between."""
    shape = packed_shape(weight)
    if shape[1] == 0:
        return weight.new_empty(shape)
    with torch.no_grad(), without_autocast(weight.device.type):
        transform = torch.tensor(_AT_POINTS, dtype=torch.float64, device=weight.device)
        panels = []
        for panel in weight.split(PANEL):
            # Before the product, whose strides are others for a single row.
            whole = F.pad(panel.double(), (0, 0) * 3 + (0, PANEL - panel.shape[0]))
            points = torch.einsum("ik,fckl,jl->ijcf", transform, whole, transform)
            panels.append(points.flatten(0, 1).to(weight.dtype))
        return torch.stack(panels, 1)
