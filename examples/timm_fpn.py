"""A timm encoder with a plain FPN whose top-down path refines instead of interpolating, trained
without logits at the size of the labels."""

import timm
import torch
from torch import Tensor, nn

from scrn_ops import SemanticRefinement, upsampled_cross_entropy


class FPN(nn.Module):
    """Logits at stride 4. The upsampling of the usual FPN was
    ``lateral + F.interpolate(top, size=lateral.shape[2:], mode="bilinear")``."""

    def __init__(self, encoder: str, classes: int, width: int = 128, pretrained: bool = False):
        super().__init__()
        self.encoder = timm.create_model(
            encoder, features_only=True, out_indices=(1, 2, 3, 4), pretrained=pretrained
        )
        channels = self.encoder.feature_info.channels()
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.upsamplers = nn.ModuleList(SemanticRefinement(width, width) for _ in channels[1:])
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels[1:])
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.encoder(image)
        maps = [lateral(each) for lateral, each in zip(self.laterals, features, strict=True)]
        top = maps.pop()
        for upsample, smooth in zip(self.upsamplers, self.smooth, strict=True):
            top = smooth(upsample(top, maps.pop()))  # the lateral map is added by the module
        return self.classify(top)


if __name__ == "__main__":
    model = FPN("resnet18", classes=19)
    images, labels = torch.randn(2, 3, 128, 160), torch.randint(19, (2, 128, 160))
    logits = model(images)
    # Before: F.cross_entropy(F.interpolate(logits, labels.shape[1:], mode="bilinear"), labels)
    upsampled_cross_entropy(logits, labels).backward()
    print(f"image {tuple(images.shape)} -> logits {tuple(logits.shape)}")
