"""torchvision's fcn_resnet50 with its last ``interpolate`` replaced by a refinement."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation import fcn_resnet50
from torchvision.models.segmentation.fcn import FCN

from scrn_ops import SemanticRefinement


class RefinedFCN(nn.Module):
    """The logits at 1/8 are brought to the image's size in one step, guided by the image.

    Before it is trained it returns what the model returns, so that pretrained weights (pass
    ``fcn_resnet50(weights="DEFAULT")``) lose nothing.
    """

    def __init__(self, model: FCN, classes: int, width: int = 16):
        super().__init__()
        self.backbone, self.classifier = model.backbone, model.classifier
        self.guide = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.refine = SemanticRefinement(
            classes, width, compress=width, hidden=width, add_skip=False
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        logits = self.classifier(self.backbone(image)["out"])
        # Was: F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)
        return OrderedDict(out=self.refine(logits, self.guide(image)))


if __name__ == "__main__":
    model = fcn_resnet50(weights=None, weights_backbone=None, num_classes=21)
    refined = RefinedFCN(model, classes=21)
    images, labels = torch.randn(2, 3, 96, 120), torch.randint(21, (2, 96, 120))
    logits = refined(images)["out"]
    F.cross_entropy(logits, labels).backward()
    print(f"image {tuple(images.shape)} -> logits {tuple(logits.shape)}")
