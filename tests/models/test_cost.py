"""Parameters and operations: the paper's tables, and counts done by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scrn import build_model, cost
from scrn.flops import module_counts, operations, operator_counts
from scrn.models import CONTEXTS, UPSAMPLERS, create_upsampler

# Tables II, IV, V, VI and VII: GFLOPs and millions of parameters.
PAPER = {
    ("mscan_s", "bilinear", (1024, 2048), 19): (122.15, 15.21),
    ("mscan_s", "fam", (1024, 2048), 19): (124.31, 15.45),
    ("mscan_s", "align_fa", (1024, 2048), 19): (134.31, 15.6),
    ("mscan_s", "srm", (1024, 2048), 19): (137.83, 15.49),
    ("van_s", "srm", (1024, 2048), 19): (135.1, 15.4),
    ("mscan_l", "srm", (1024, 2048), 19): (411.2, 46.7),
    ("mscan_s", "srm", (512, 512), 150): (17.5, 15.5),
    ("van_s", "srm", (512, 512), 150): (17.2, 15.4),
    ("mscan_s", "srm", (720, 1280), 19): (60.7, 15.5),
    ("van_s", "srm", (720, 1280), 19): (59.5, 15.4),
}
# In units of the last digit that the paper prints: what FAM and AlignFA add to bilinear.
EXPLAINED = {"fam": (2.16, 0.24, 0.06), "align_fa": (12.16, 0.39, 0.21)}
# Millions of parameters, and multiply-accumulates of convolutions alone at 1024x2048, 512x512
# and 720x1280, in units of 1e9.
BACKBONES = {
    "mscan_s": (13.450, 107.00, 13.38, 47.17),
    "mscan_l": (44.637, 378.14, 47.27, 166.38),
    "van_s": (13.349, 104.27, 13.03, 45.97),
}


def test_every_published_total_is_compared() -> None:
    rows = {
        (row.backbone, row.upsampler, row.size, row.num_classes): (row.gflops, row.parameters)
        for row in cost.PUBLISHED
    }
    assert rows == PAPER


@pytest.mark.parametrize("row", cost.PUBLISHED, ids=lambda row: f"{row.backbone}-{row.upsampler}")
def test_totals_are_the_papers(row: cost.PublishedTotal) -> None:
    total, off, off_parameters = cost.compare(row)
    gflops, parameters = PAPER[row.backbone, row.upsampler, row.size, row.num_classes]
    assert total.paper / 1e9 == pytest.approx(gflops, rel=0.01)
    assert off == pytest.approx(100 * (total.paper / 1e9 - gflops) / gflops)
    assert off_parameters == pytest.approx(100 * (total.parameters / 1e6 - parameters) / parameters)
    if row.upsampler in EXPLAINED:
        assert row.parameters_explained
    else:
        assert not row.parameters_explained
        assert total.parameters / 1e6 == pytest.approx(parameters, rel=0.01)


def test_what_the_upsamplers_add() -> None:
    """Their GFLOPs fit to the digit. The paper's parameters would need twice the weights of the
    structure that its GFLOPs are those of."""
    totals = {
        name: cost.measure(build_model("mscan_s", upsampler=name), (1024, 2048))["total"]
        for name in UPSAMPLERS
    }
    base = totals["bilinear"]
    for name, (gflops, paper, ours) in EXPLAINED.items():
        assert (totals[name].paper - base.paper) / 1e9 == pytest.approx(gflops, abs=0.01)
        more = (totals[name].parameters - base.parameters) / 1e6
        assert more == pytest.approx(ours, abs=0.005)
        assert more < paper - 0.1
    srm = totals["srm"]
    assert (srm.paper - base.paper) / 1e9 == pytest.approx(137.83 - 122.15, abs=0.01)
    assert (srm.parameters - base.parameters) / 1e6 == pytest.approx(15.49 - 15.21, abs=0.01)


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones(name: str) -> None:
    parameters, *macs = BACKBONES[name]
    with torch.device("meta"):
        backbone = build_model(name).backbone.eval()
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(
        parameters, abs=5e-4
    )
    for size, expected in zip(((1024, 2048), (512, 512), (720, 1280)), macs, strict=True):
        counts = module_counts(backbone, torch.empty(1, 3, *size, device="meta"))
        convolutions = sum(n for module, n in counts.items() if isinstance(module, nn.Conv2d))
        assert convolutions / 1e9 == pytest.approx(expected, abs=0.01)


def test_module_counts_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # to 5 x 6
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()
    counts = module_counts(model, torch.zeros(1, 3, 10, 12))
    pixels = 5 * 6
    assert [counts.get(module, 0) for module in model] == [
        8 * pixels * 3 * 9, 2 * 8 * pixels, 8 * pixels, 8 * pixels * 25, 0, 0, 0, 32
    ]  # fmt: skip


def test_what_is_written_into_an_argument_is_counted() -> None:
    x, weights = torch.zeros(1, 3, 4, 5), torch.zeros(3, 10)
    arguments = (x, weights, 3, x)
    overload = torch.ops.scrn_ops.depthwise_gelu_out.default
    assert operations(overload, arguments, {}, overload(*arguments)) == 2 * 60 * 9


def test_operator_counts_by_hand() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(2)
            return (x.transpose(1, 2) @ x).softmax(dim=2)

    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, bias=False), nn.GELU(), Attention()
    ).eval()
    counts, unknown = operator_counts(model, torch.zeros(2, 3, 4, 5), {"first": model[0]})
    assert unknown == set()
    pixels = 2 * 20
    assert counts["first"] == 2 * 3 * 8 * pixels + 8 * pixels
    assert counts["rest"] == 2 * 64 * pixels + 5 * 8 * pixels + (2 * 8 + 5) * 20 * pixels


def test_the_refinement_counts_in_the_papers_order() -> None:
    """Upsampled, then compressed; ours is compressed before."""
    module = create_upsampler("srm", 128, 128).eval()

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.upsampler = module

        def forward(self, high: torch.Tensor) -> torch.Tensor:
            return self.upsampler(high[:, :, ::2, ::2], high)

    counts = module_counts(Whole().eval(), torch.zeros(1, 128, 8, 10))
    assert counts[module.compress_low] == 80 * 128 * 64
    assert counts[module.compress_high] == 80 * 128 * 64


def test_parts_add_up_and_no_operator_is_unknown() -> None:
    for context in CONTEXTS:
        model = build_model("timm:test_resnet", context=context)
        costs = cost.measure(model, (97, 131))
        total = costs.pop("total")
        assert sum(c.parameters for c in costs.values()) == total.parameters
        assert sum(c.full for c in costs.values()) == total.full
        assert 1.8 < total.full / total.paper < 3
    everything = sum(p.numel() for p in model.parameters())
    assert total.parameters == everything - sum(p.numel() for p in model.embedding.parameters())


@pytest.mark.parametrize("arguments", [["--table"], ["--backbone", "timm:resnet18"]], ids=str)
def test_the_command_prints(arguments: list[str], monkeypatch, capsys) -> None:
    monkeypatch.setattr(cost, "PUBLISHED", cost.PUBLISHED[1:2])
    assert cost.main([*arguments, "--size", "128", "160"]) == 0
    lines = capsys.readouterr().out.splitlines()
    if "--table" in arguments:
        assert "124.31" in lines[1]
        assert lines[1].endswith("[1]")
        assert lines[2].startswith("[1] the paper's 15.45 M")
    else:
        assert [line.split()[0] for line in lines[1:]] == [
            "backbone", "context", "decoder", "upsamplers", "head", "logits", "total"
        ]  # fmt: skip
