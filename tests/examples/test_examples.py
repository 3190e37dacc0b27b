"""The examples run as they are written, and do what they say."""

import runpy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def randomise_offsets(module):
    """An untrained module's last offset convolution is zero; here it moves points by pixels."""
    for name, parameter in module.named_parameters():
        if name.endswith(("offset.3.weight", "offset.3.bias")):
            torch.nn.init.normal_(parameter, std=0.5)


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_runs_as_a_script(name, capsys):
    torch.manual_seed(0)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert "->" in capsys.readouterr().out


def sfnet_warp(input, flow):
    """SFNet's warp, literally: a grid of the corners' centres, plus the flow over (W, H)."""
    height, width = flow.shape[2:]
    rows, columns = (torch.linspace(-1, 1, n, dtype=flow.dtype) for n in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack((x, y), dim=-1)
    grid = grid + flow.permute(0, 2, 3, 1) / torch.tensor([width, height]).to(flow)
    return F.grid_sample(input, grid, align_corners=True)


@pytest.mark.parametrize("size", [(23, 40), (45, 80)])
def test_flow_warp_is_sfnets(size):
    torch.manual_seed(0)
    input = torch.randn(2, 5, *size, dtype=torch.float64, requires_grad=True)
    flow = (20 * torch.randn(2, 2, 45, 80, dtype=torch.float64)).requires_grad_()
    grad = torch.randn(2, 5, 45, 80, dtype=torch.float64)
    results = []
    for warp in (load("sfnet_flow_warp")["flow_warp"], sfnet_warp):
        output = warp(input, flow)
        results.append((output, *torch.autograd.grad(output, (input, flow), grad)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_segnext_s_gate_is_the_authors():
    torch.manual_seed(0)
    example = load("segnext_gate")
    module = example["AttentionModule"](6).double()
    x = torch.randn(2, 6, 25, 31, dtype=torch.float64, requires_grad=True)
    leaves = [x, *module.parameters()]
    grad = torch.randn(2, 6, 25, 31, dtype=torch.float64)
    results = []
    for forward in (example["AttentionModule"].forward, example["fused_forward"]):
        output = forward(module, x)
        results.append((output, *torch.autograd.grad(output, leaves, grad)))
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_untrained_fpn_interpolates_and_adds():
    torch.manual_seed(0)
    model = load("timm_fpn")["FPN"]("resnet18", classes=5, width=32).eval()
    image = torch.randn(1, 3, 97, 131)
    with torch.no_grad():
        maps = [lateral(f) for lateral, f in zip(model.laterals, model.encoder(image), strict=True)]
        top = maps.pop()
        for smooth in model.smooth:
            high = maps.pop()
            top = smooth(high + F.interpolate(top, size=high.shape[2:], mode="bilinear"))
        expected = model.classify(top)
        torch.testing.assert_close(model(image), expected, rtol=1e-4, atol=1e-5)
        randomise_offsets(model)
        assert (model(image) - expected).abs().max() > 0.01


def test_fpn_trains_through_its_upsamplers():
    torch.manual_seed(0)
    model = load("timm_fpn")["FPN"]("resnet18", classes=5, width=32)
    randomise_offsets(model)
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()
    # The encoder's own last batch norms start at zero, and stop the gradient behind them.
    trained = {n: p for n, p in model.named_parameters() if not n.startswith("encoder")}
    assert [n for n, p in trained.items() if p.grad is None or not p.grad.any()] == []
    assert all(p.grad is not None for p in model.parameters())


def test_untrained_refined_fcn_is_torchvisions():
    module = load("torchvision_fcn")
    torch.manual_seed(0)
    model = module["fcn_resnet50"](weights=None, weights_backbone=None, num_classes=6)
    refined = module["RefinedFCN"](model, classes=6).eval()
    image = torch.randn(1, 3, 90, 131)
    model.eval()
    with torch.no_grad():
        expected = model(image)["out"]
        torch.testing.assert_close(refined(image)["out"], expected, rtol=1e-4, atol=1e-5)
        randomise_offsets(refined)
        assert (refined(image)["out"] - expected).abs().max() > 1e-3 * expected.abs().max()


def test_lraspp_is_torchvisions():
    """Loss, gradients and labels of the model as torchvision runs it."""
    example = load("torchvision_lraspp")
    torch.manual_seed(0)
    model = example["lraspp_mobilenet_v3_large"](weights_backbone=None, num_classes=7).eval()
    image, labels = torch.randn(1, 3, 97, 130), torch.randint(7, (1, 97, 130))
    labels[:, :9] = 255
    parameter = model.classifier.low_classifier.weight
    chain = F.cross_entropy(model(image)["out"], labels, ignore_index=255)
    loss = example["UpsampledCrossEntropy"](ignore_index=255)(
        example["low_logits"](model, image), labels
    )
    torch.testing.assert_close(loss, chain)
    torch.testing.assert_close(
        *(torch.autograd.grad(each, parameter)[0] for each in (loss, chain)), rtol=1e-4, atol=1e-6
    )
