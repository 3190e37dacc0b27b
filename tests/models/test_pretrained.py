"""Official checkpoints: names, shapes, values, and what is refused."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scrn import build_model
from scrn.models import create_backbone, load_pretrained

from . import official
from .helpers import image, relative

NAMES = ("mscan_s", "mscan_l", "van_s")


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_are_the_official_ones(name: str) -> None:
    own = {key: tuple(value.shape) for key, value in create_backbone(name).state_dict().items()}
    assert own == official.shapes(name)


@pytest.mark.parametrize("name", NAMES)
def test_features_equal_the_published_structure(name: str, tmp_path: Path) -> None:
    state = official.checkpoint(name)
    path = tmp_path / f"{name}.pth"
    torch.save({"state_dict": state}, path)
    backbone = create_backbone(name).eval()
    load_pretrained(backbone, path)
    x = image(70, 101, batch=1)
    with torch.no_grad():
        got, expected = backbone(x), official.features(name, state, x)
    assert [tuple(f.shape) for f in got] == [
        (1, width, -(-70 // stride), -(-101 // stride))
        for width, stride in zip(official.WIDTHS, (4, 8, 16, 32), strict=True)
    ]
    for ours, theirs in zip(got, expected, strict=True):
        assert relative(ours, theirs) < 1e-4


def test_features_do_not_depend_on_the_loading_path(tmp_path: Path) -> None:
    state = official.checkpoint("van_s")
    files = {
        "plain.pth": state,
        "contained.pth": {"state_dict": state, "epoch": 300},
        "timm.pth.tar": {"model": state, "args": argparse.Namespace(lr=1e-3)},
        "parallel.pth": {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        "segmentor.pth": {
            "state_dict": {f"backbone.{k}": v for k, v in state.items() if "head" not in k}
            | {"decode_head.conv_seg.weight": torch.zeros(19, 512, 1, 1)}
        },
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name)
    save_file(state, tmp_path / "plain.safetensors")
    x, results = image(40, 64, batch=1), []
    for path in sorted(tmp_path.iterdir()):
        model = build_model("van_s", pretrained=path, ops="reference").eval()
        with torch.no_grad():
            results.append(model.backbone(x))
    assert len(results) == len(files) + 1
    for features in results[1:]:
        for ours, first in zip(features, results[0], strict=True):
            assert torch.equal(ours, first)


def test_the_report_names_what_was_loaded_and_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = official.checkpoint("van_s")
    torch.save(state, tmp_path / "van.pth")
    with caplog.at_level(logging.INFO):
        report = load_pretrained(create_backbone("van_s"), tmp_path / "van.pth")
    assert set(report.matched) == set(official.shapes("van_s"))
    assert set(report.dropped) == {"head.weight", "head.bias"}
    assert f"{len(report.matched)} entries" in caplog.text
    assert "head.weight" in caplog.text


def _missing(state: dict) -> None:
    del state["block3.1.mlp.fc2.bias"]


def _unknown(state: dict) -> None:
    state["block3.9.mlp.fc2.bias"] = torch.zeros(320)


def _misshapen(state: dict) -> None:
    state["patch_embed2.proj.weight"] = torch.zeros(128, 64, 7, 7)


def _renamed(state: dict) -> None:
    state["block1.0.mlp.dwconv.weight"] = state.pop("block1.0.mlp.dwconv.dwconv.weight")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (_missing, "missing: block3.1.mlp.fc2.bias"),
        (_unknown, "unknown: block3.9.mlp.fc2.bias"),
        (_misshapen, r"patch_embed2.proj.weight is \(128, 64, 7, 7\), not \(128, 64, 3, 3\)"),
        (_renamed, "missing: block1.0.mlp.dwconv.dwconv.weight; unknown: block1.0.mlp.dwconv.w"),
    ],
)
def test_a_mismatch_is_an_error_and_loads_nothing(spoil, named: str, tmp_path: Path) -> None:
    state = official.checkpoint("van_s")
    spoil(state)
    torch.save(state, tmp_path / "spoilt.pth")
    backbone = create_backbone("van_s")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(ValueError, match=named):
        load_pretrained(backbone, tmp_path / "spoilt.pth")
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())


def test_the_checkpoint_of_another_backbone_is_an_error(tmp_path: Path) -> None:
    torch.save(official.checkpoint("mscan_s"), tmp_path / "mscan_s.pth")
    for other in ("van_s", "mscan_t", "mscan_l"):
        with pytest.raises(ValueError, match="no checkpoint of this"):
            build_model(other, pretrained=tmp_path / "mscan_s.pth")


def test_files_that_are_no_weights_are_errors(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save({"state_dict": Code()}, tmp_path / "code.pth")
    torch.save([1, 2, 3], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("no weights")
    backbone = create_backbone("van_t")
    with pytest.raises(ValueError, match=r"code\.pth is no file of weights alone"):
        load_pretrained(backbone, tmp_path / "code.pth")
    with pytest.raises(ValueError, match=r"list\.pth holds no state dict, but list"):
        load_pretrained(backbone, tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"text\.pth"):
        load_pretrained(backbone, tmp_path / "text.pth")
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        load_pretrained(backbone, tmp_path / "absent.pth")


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "mobilenetv3_small_100"])
def test_timm_checkpoints_load_without_their_classifier(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    whole = timm.create_model(name).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    backbone = create_backbone(f"timm:{name}").eval()
    report = load_pretrained(backbone, tmp_path / "whole.pth")
    assert set(report.matched) | set(report.dropped) == set(whole.state_dict())
    x = image(64, 96, batch=1)
    with torch.no_grad():
        # What the whole model computes before its head, pooled or not.
        expected = whole.forward_intermediates(x, intermediates_only=True)
        got = backbone(x)
    for feature in got:
        same = [f for f in expected if f.shape == feature.shape]
        assert min(relative(feature, f) for f in same) < 1e-5

    state = whole.state_dict()
    removed = next(key for key in report.matched if key.endswith("weight"))
    del state[removed]
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(ValueError, match="missing"):
        load_pretrained(backbone, tmp_path / "less.pth")
