"""SFNet's flow alignment module with its warp replaced: no grid, one kernel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrn_ops import offset_sample


def flow_warp(input: Tensor, flow: Tensor) -> Tensor:
    """``input`` [B, C, h, w] sampled at the pixels of ``flow`` [B, 2, H, W] moved by it.

    SFNet adds flow / (W, H) to a grid that runs from -1 to 1 over the corners' centres, where a
    pixel is 2 / (W - 1): in pixels of the output its flow is (W - 1) / (2 W) as long.
    """
    height, width = flow.shape[2:]
    factor = flow.new_tensor([(width - 1) / (2 * width), (height - 1) / (2 * height)])
    return offset_sample(input, flow * factor.view(1, 2, 1, 1), align_corners=True)


class FlowAlignment(nn.Module):
    """Adds the coarse map, warped by a flow that is learned from both, to the fine one."""

    def __init__(self, channels: int, compress: int):
        super().__init__()
        self.down_coarse = nn.Conv2d(channels, compress, 1, bias=False)
        self.down_fine = nn.Conv2d(channels, compress, 1, bias=False)
        self.flow = nn.Conv2d(2 * compress, 2, 3, padding=1, bias=False)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        compressed = F.interpolate(
            self.down_coarse(coarse), size=fine.shape[2:], mode="bilinear", align_corners=True
        )
        flow = self.flow(torch.cat((compressed, self.down_fine(fine)), dim=1))
        return flow_warp(coarse, flow) + fine


if __name__ == "__main__":
    module = FlowAlignment(channels=128, compress=64)
    coarse, fine = torch.randn(1, 128, 23, 40), torch.randn(1, 128, 45, 80)
    aligned = module(coarse, fine)
    aligned.square().mean().backward()
    print(f"{tuple(coarse.shape)} and {tuple(fine.shape)} -> {tuple(aligned.shape)}")
