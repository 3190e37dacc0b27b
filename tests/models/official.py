"""Names and shapes of the official checkpoints, and their structure evaluated literally.

Facts looked up in the public repositories: SegNeXt's ``mmseg/models/backbones/mscan.py`` for
``mscan_{t,s,b,l}.pth``, VAN-Classification's ``models/van.py`` for ``van_{tiny,...}.pth.tar``
(``van_b0`` to ``van_b3``), both with a classifier ``head`` of 1000 ImageNet classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTHS = (64, 128, 320, 512)
RATIOS = (8, 8, 4, 4)
DEPTHS = {"mscan_s": (2, 2, 4, 2), "mscan_l": (3, 5, 27, 3), "van_s": (2, 2, 4, 2)}

# C: the stage's width, P: that of the stage before, H: hidden, S: half the first width.
_NORM = """
{}.weight C
{}.bias C
{}.running_mean C
{}.running_var C
{}.num_batches_tracked
"""
_MSCAN_STEM = """
patch_embed1.proj.0.weight S 3 3 3
patch_embed1.proj.0.bias S
patch_embed1.proj.1.weight S
patch_embed1.proj.1.bias S
patch_embed1.proj.1.running_mean S
patch_embed1.proj.1.running_var S
patch_embed1.proj.1.num_batches_tracked
patch_embed1.proj.3.weight C S 3 3
patch_embed1.proj.3.bias C
""" + _NORM.replace("{}", "patch_embed1.proj.4")
_VAN_STEM = """
patch_embed1.proj.weight C 3 7 7
patch_embed1.proj.bias C
""" + _NORM.replace("{}", "patch_embed1.norm")
_EMBED = """
patch_embed{i}.proj.weight C P 3 3
patch_embed{i}.proj.bias C
""" + _NORM.replace("{}", "patch_embed{i}.norm")
_MSCAN_GATE = """
conv0.weight C 1 5 5
conv0.bias C
conv0_1.weight C 1 1 7
conv0_1.bias C
conv0_2.weight C 1 7 1
conv0_2.bias C
conv1_1.weight C 1 1 11
conv1_1.bias C
conv1_2.weight C 1 11 1
conv1_2.bias C
conv2_1.weight C 1 1 21
conv2_1.bias C
conv2_2.weight C 1 21 1
conv2_2.bias C
conv3.weight C C 1 1
conv3.bias C
"""
_VAN_GATE = """
conv0.weight C 1 5 5
conv0.bias C
conv_spatial.weight C 1 7 7
conv_spatial.bias C
conv1.weight C C 1 1
conv1.bias C
"""
_BLOCK = (
    """
layer_scale_1 C
layer_scale_2 C
attn.proj_1.weight C C 1 1
attn.proj_1.bias C
attn.proj_2.weight C C 1 1
attn.proj_2.bias C
mlp.fc1.weight H C 1 1
mlp.fc1.bias H
mlp.dwconv.dwconv.weight H 1 3 3
mlp.dwconv.dwconv.bias H
mlp.fc2.weight C H 1 1
mlp.fc2.bias C
"""
    + _NORM.replace("{}", "norm1")
    + _NORM.replace("{}", "norm2")
)
_STAGE_NORM = """
norm{i}.weight C
norm{i}.bias C
"""


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the official checkpoint, without the classifier."""
    van = name.startswith("van")
    result: dict[str, tuple[int, ...]] = {}
    for i, (width, ratio, depth) in enumerate(zip(WIDTHS, RATIOS, DEPTHS[name], strict=True), 1):
        stem = _VAN_STEM if van else _MSCAN_STEM
        gate = _VAN_GATE if van else _MSCAN_GATE
        lines = (stem if i == 1 else _EMBED).split("\n") + _STAGE_NORM.split("\n")
        for j in range(depth):
            lines += [f"block{i}.{j}.{line}" for line in _BLOCK.split("\n") if line]
            lines += [
                f"block{i}.{j}.attn.spatial_gating_unit.{line}" for line in gate.split("\n") if line
            ]
        sizes = {"C": width, "P": WIDTHS[i - 2], "H": width * ratio, "S": WIDTHS[0] // 2}
        for line in filter(None, lines):
            key, *dims = line.replace("{i}", str(i)).split()
            result[key] = tuple(sizes[d] if d in sizes else int(d) for d in dims)
    return result


def checkpoint(name: str, seed: int = 0) -> dict[str, Tensor]:
    """A state dict of the official names and shapes, with values at which all of them matter."""
    generator = torch.Generator().manual_seed(seed)
    # The gates multiply: with larger scales the values would grow beyond all bounds.
    scale = 0.5 / max(DEPTHS[name])
    state = {}
    for key, shape in shapes(name).items():
        noise = torch.randn(shape, generator=generator)
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(1000)
        elif key.endswith("running_var"):
            state[key] = 0.5 + noise.abs()
        elif "layer_scale" in key:
            state[key] = scale * noise
        elif "norm" in key or ".proj.1." in key or ".proj.4." in key:
            state[key] = (1 + 0.3 * noise) if key.endswith("weight") else 0.3 * noise
        elif len(shape) == 4:
            state[key] = noise * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        else:
            state[key] = 0.1 * noise
    state["head.weight"] = torch.randn(1000, WIDTHS[-1], generator=generator)
    state["head.bias"] = torch.randn(1000, generator=generator)
    return state


def features(name: str, state: dict[str, Tensor], image: Tensor) -> list[Tensor]:
    """The published structure, evaluated on the checkpoint's names: the four feature maps."""
    van = name.startswith("van")

    def conv(x: Tensor, key: str, **options: object) -> Tensor:
        return F.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"], **options)

    def depthwise(x: Tensor, key: str, padding: object, **options: object) -> Tensor:
        return conv(x, key, padding=padding, groups=x.shape[1], **options)

    def batch_norm(x: Tensor, key: str) -> Tensor:
        mean, var = state[f"{key}.running_mean"], state[f"{key}.running_var"]
        x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        return x * state[f"{key}.weight"][:, None, None] + state[f"{key}.bias"][:, None, None]

    def mscan_gate(x: Tensor, key: str) -> Tensor:
        attention = depthwise(x, f"{key}.conv0", 2)
        first = depthwise(attention, f"{key}.conv0_1", (0, 3))
        first = depthwise(first, f"{key}.conv0_2", (3, 0))
        second = depthwise(attention, f"{key}.conv1_1", (0, 5))
        second = depthwise(second, f"{key}.conv1_2", (5, 0))
        third = depthwise(attention, f"{key}.conv2_1", (0, 10))
        third = depthwise(third, f"{key}.conv2_2", (10, 0))
        return conv(attention + first + second + third, f"{key}.conv3") * x

    def van_gate(x: Tensor, key: str) -> Tensor:
        attention = depthwise(x, f"{key}.conv0", 2)
        attention = depthwise(attention, f"{key}.conv_spatial", 9, dilation=3)
        return x * conv(attention, f"{key}.conv1")

    gate = van_gate if van else mscan_gate
    x, maps = image, []
    for i, depth in enumerate(DEPTHS[name], 1):
        if i > 1:
            x = conv(x, f"patch_embed{i}.proj", stride=2, padding=1)
            x = batch_norm(x, f"patch_embed{i}.norm")
        elif van:
            x = batch_norm(conv(x, "patch_embed1.proj", stride=4, padding=3), "patch_embed1.norm")
        else:
            x = conv(x, "patch_embed1.proj.0", stride=2, padding=1)
            x = F.gelu(batch_norm(x, "patch_embed1.proj.1"))
            x = conv(x, "patch_embed1.proj.3", stride=2, padding=1)
            x = batch_norm(x, "patch_embed1.proj.4")
        for j in range(depth):
            key = f"block{i}.{j}"
            y = batch_norm(x, f"{key}.norm1")
            z = F.gelu(conv(y, f"{key}.attn.proj_1"))
            z = conv(gate(z, f"{key}.attn.spatial_gating_unit"), f"{key}.attn.proj_2") + y
            x = x + state[f"{key}.layer_scale_1"][:, None, None] * z
            y = conv(batch_norm(x, f"{key}.norm2"), f"{key}.mlp.fc1")
            y = F.gelu(depthwise(y, f"{key}.mlp.dwconv.dwconv", 1))
            y = conv(y, f"{key}.mlp.fc2")
            x = x + state[f"{key}.layer_scale_2"][:, None, None] * y
        eps = 1e-6 if van else 1e-5
        mean = x.mean(dim=1, keepdim=True)
        variance = (x - mean).square().mean(dim=1, keepdim=True)
        x = (x - mean) / (variance + eps).sqrt()
        x = x * state[f"norm{i}.weight"][:, None, None] + state[f"norm{i}.bias"][:, None, None]
        maps.append(x)
    return maps
