"""torchvision's LRASPP trained and used without logits at the size of the image: three lines."""

import torch
from torch import Tensor, nn
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from scrn_ops import UpsampledCrossEntropy, upsampled_argmax


def low_logits(model: nn.Module, image: Tensor) -> Tensor:
    """At stride 8. The model's own forward ends in an ``interpolate`` of them."""
    return model.classifier(model.backbone(image))


if __name__ == "__main__":
    model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21)
    images, labels = torch.randn(2, 3, 128, 160), torch.randint(21, (2, 128, 160))

    # Before: loss = nn.CrossEntropyLoss(ignore_index=255)(model(images)["out"], labels)
    loss = UpsampledCrossEntropy(ignore_index=255)(low_logits(model, images), labels)
    loss.backward()

    # Before: predicted = model.eval()(images)["out"].argmax(1)
    with torch.no_grad():
        predicted = upsampled_argmax(low_logits(model.eval(), images), labels.shape[1:])
    print(f"image {tuple(images.shape)} -> labels {tuple(predicted.shape)}, loss {loss.item():.2f}")
