"""SegNeXt's attention module, as its authors publish it, with its convolutions replaced."""

import torch
from torch import Tensor, nn

from scrn_ops import multi_scale_depthwise


class AttentionModule(nn.Module):
    """The module of SegNeXt's code: its checkpoints load into it."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv0 = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.conv0_1 = nn.Conv2d(dim, dim, (1, 7), padding=(0, 3), groups=dim)
        self.conv0_2 = nn.Conv2d(dim, dim, (7, 1), padding=(3, 0), groups=dim)
        self.conv1_1 = nn.Conv2d(dim, dim, (1, 11), padding=(0, 5), groups=dim)
        self.conv1_2 = nn.Conv2d(dim, dim, (11, 1), padding=(5, 0), groups=dim)
        self.conv2_1 = nn.Conv2d(dim, dim, (1, 21), padding=(0, 10), groups=dim)
        self.conv2_2 = nn.Conv2d(dim, dim, (21, 1), padding=(10, 0), groups=dim)
        self.conv3 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        local = self.conv0(x)
        strips = [self.conv0_2(self.conv0_1(local)), self.conv1_2(self.conv1_1(local))]
        strips.append(self.conv2_2(self.conv2_1(local)))
        return self.conv3(local + strips[0] + strips[1] + strips[2]) * x


def fused_forward(self: AttentionModule, x: Tensor) -> Tensor:
    """In the place of ``AttentionModule.forward``: the same result in one pass."""
    rows = [self.conv0_1, self.conv1_1, self.conv2_1]
    columns = [self.conv0_2, self.conv1_2, self.conv2_2]
    context = multi_scale_depthwise(
        *(x, self.conv0.weight, self.conv0.bias),
        *([conv.weight for conv in rows], [conv.bias for conv in rows]),
        *([conv.weight for conv in columns], [conv.bias for conv in columns]),
    )
    return self.conv3(context) * x


if __name__ == "__main__":
    module = AttentionModule(64)
    x = torch.randn(1, 64, 45, 80)
    expected = module(x)
    AttentionModule.forward = fused_forward
    replaced = module(x)
    replaced.square().mean().backward()
    print(
        f"{tuple(x.shape)} -> {tuple(replaced.shape)}, off by {(replaced - expected).abs().max()}"
    )
