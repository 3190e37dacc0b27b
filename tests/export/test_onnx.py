"""``scrn export --format onnx``: what ONNX Runtime and OpenVINO make of the file, and bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from scrn.cli import main
from scrn.engine.weights import PACKAGED_FOLDER, SavedModel, load_model
from scrn.export import aoti
from scrn.export import onnx as export
from scrn.export.onnx import Difference, export_onnx
from tests.models.helpers import build, settle

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("openvino")

TINY = "timm:test_resnet"
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
SIZES = ((1, 32, 57), (3, 97, 131), (1, 160, 203))  # none of which the exporter compares


def saved(backbone: str, upsampler: str = "srm", context: str = "crm") -> SavedModel:
    with torch.no_grad():
        model = settle(build(backbone, upsampler, context)).eval()
    return SavedModel(model, tuple("abcde"), MEAN, STD, 360, {"terms": "None."})


def photo(size: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def normalised(model: SavedModel, image: np.ndarray) -> torch.Tensor:
    pixels = (torch.from_numpy(image).double() / 255 - torch.tensor(model.mean)) / torch.tensor(
        model.std
    )
    return pixels.permute(0, 3, 1, 2).float()


@torch.no_grad()
def logits(model: SavedModel, image: np.ndarray) -> np.ndarray:
    found: np.ndarray = model.model(normalised(model, image)).numpy()
    return found


def runtimes(path: Path) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(path)
    name = session.get_inputs()[0].name
    found = {"ONNX Runtime": lambda x: session.run(None, {name: x})[0]}
    import openvino

    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return found | {"OpenVINO": lambda x: compiled(x)[0]}


def check_logits(path: Path, model: SavedModel) -> None:
    for name, run in runtimes(path).items():
        for size in SIZES:
            image = photo(size)
            expected = logits(model, image)
            found = run(np.ascontiguousarray(image.transpose(0, 3, 1, 2)) / np.float32(255))
            assert found.shape == expected.shape, name
            assert np.abs(found - expected).max() <= 1e-4 * np.ptp(expected), name
            assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.999, name


def check_graph(path: Path, sampler: str | None) -> Any:
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {""}
    assert {(each.domain, each.version) for each in model.opset_import} == {("", 18)}
    assert not model.functions
    assert ("GridSample" in {node.op_type for node in model.graph.node}) == (sampler == "native")
    return model


def sizes_of(value: Any) -> list[Any]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_logits_of_a_small_network(tmp_path: Path) -> None:
    model = saved(TINY)
    path = tmp_path / "network.onnx"
    difference = export_onnx(model, path)
    assert difference.logits is not None
    assert difference.logits < 1e-5
    assert difference.agreement > 0.999
    found = check_graph(path, "native")
    (image,), (result,) = found.graph.input, found.graph.output
    assert (image.name, result.name) == ("image", "logits")
    assert sizes_of(image) == ["batch", 3, "height", "width"]
    assert sizes_of(result) == ["batch", 5, "height", "width"]
    facts = {each.key: json.loads(each.value) for each in found.metadata_props}
    assert facts["classes"] == list("abcde")
    assert (facts["mean"], facts["std"]) == (list(MEAN), list(STD))
    assert (facts["short_side"], facts["min_size"], facts["terms"]) == (360, 32, "None.")
    assert len(facts["colors"]) == 5
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]
    check_logits(path, model)


def test_labels_by_gather_of_a_fused_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = saved(TINY, context="f4")
    original.model.save_pretrained(
        tmp_path / "folder", classes=original.classes, mean=MEAN, std=STD, about={"terms": "None."}
    )
    path = tmp_path / "labels.onnx"
    arguments = ["--model", str(tmp_path / "folder"), "--output", str(path)]
    command = ["export", "--format", "onnx", "--labels", "--grid-sample", "gather"]
    assert main([*command, *arguments]) == 0
    assert "opset 18; ONNX Runtime: the same class on" in capsys.readouterr().out
    found = check_graph(path, "gather")
    assert sizes_of(found.graph.input[0]) == ["batch", "height", "width", 3]
    assert sizes_of(found.graph.output[0]) == ["batch", "height", "width"]
    for name, run in runtimes(path).items():
        for size in SIZES:
            image = photo(size)
            labels = run(image)
            assert labels.dtype == np.uint8, name
            expected = logits(original, image).argmax(1)
            assert labels.shape == expected.shape, name
            assert (labels == expected).mean() >= 0.999, name


# Each with a context module that no other test here exports.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("upsampler", "context", "grid_sample"),
    [("fam", "dappm", "native"), ("align_fa", "ccam", "gather")],
)
def test_other_parts(tmp_path: Path, upsampler: str, context: str, grid_sample: str) -> None:
    model = saved(TINY, upsampler, context)
    path = tmp_path / "network.onnx"
    export_onnx(model.fuse(), path, grid_sample=grid_sample)
    check_graph(path, grid_sample)
    check_logits(path, model)


# Of the MSCAN backbones the smallest: the others are the same layers, more of them and wider.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "grid_sample"), [("packaged", "native"), ("mscan_t", "gather")]
)
def test_the_networks_that_people_export(tmp_path: Path, backbone: str, grid_sample: str) -> None:
    model = load_model() if backbone == "packaged" else saved(backbone)
    path = tmp_path / "network.onnx"
    export_onnx(model, path, grid_sample=grid_sample)
    check_graph(path, grid_sample)
    model.model.to(memory_format=torch.contiguous_format)
    check_logits(path, model)


class Translated:
    """What stands for a program: a file of no use."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(metadata_props={})

    def save(self, path: Path, external_data: bool) -> None:
        path.write_bytes(b"new")


@pytest.mark.parametrize(
    "difference", [Difference(2e-4, 1.0), Difference(float("nan"), 1.0), Difference(None, 0.99)]
)
def test_a_file_that_differs_is_not_left(
    difference: Difference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(b"old")
    monkeypatch.setattr(export, "_translated", lambda *_: Translated())
    monkeypatch.setattr(export, "_checked", lambda *_: difference)
    with pytest.raises(ValueError, match="expected ONNX Runtime's results to be PyTorch's"):
        export_onnx(saved(TINY, context="f4"), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_the_check_sees_another_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is of the file: here the one of the network without its normalisation."""
    model = saved(TINY, "bilinear", "f4")
    plain = export._WithNormalisation

    def wrong(network: Any, model: SavedModel, labels: bool) -> Any:
        if hasattr(network, "save_pretrained") and type(network).__name__ == "FusedSCRN":
            model = replace(model, mean=(0.0, 0.0, 0.0))
        return plain(network, model, labels)

    monkeypatch.setattr(export, "_WithNormalisation", wrong)
    with pytest.raises(ValueError, match="expected ONNX Runtime's results to be PyTorch's"):
        export_onnx(model, tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_the_check_sees_what_is_not_finite(tmp_path: Path, wrong: float) -> None:
    """One pixel of one image, which the largest difference and the classes' share could pass by."""

    def logits(images: torch.Tensor) -> torch.Tensor:
        found = images.repeat(1, 2, 1, 1)
        if len(images) == 3:
            found[0, 0, 0, 0] = wrong
        return found

    info = onnx.helper.make_tensor_value_info
    size = ["batch", "channels", "height", "width"]
    values = [info(name, onnx.TensorProto.FLOAT, size) for name in ("image", "logits")]
    node = onnx.helper.make_node("Concat", ["image", "image"], ["logits"], axis=1)
    graph = onnx.helper.make_graph([node], "twice", [values[0]], [values[1]])
    opset = onnx.helper.make_opsetid("", 18)
    path = tmp_path / "twice.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    assert not export._checked(path, logits, False).is_small
    assert export._checked(path, lambda x: x.repeat(1, 2, 1, 1), False).is_small


def test_opset_20_warns_of_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_translated", lambda *_: Translated())
    monkeypatch.setattr(export, "_checked", lambda *_: Difference(0.0, 1.0))
    model = saved(TINY, context="f4")
    with pytest.warns(UserWarning, match="TensorRT reads GridSample's mode of opset 20"):
        export_onnx(model, tmp_path / "network.onnx", opset=20)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--opset", "17"], "opset: expected a number from 18 to "),
        (["--opset", "99"], "opset: expected a number from 18 to "),
        (["--output", "no/such/folder/n.onnx"], "output: expected a folder that can be written to"),
        (["--output", "."], "output: expected the path of a file, got the folder ."),
        (["--model", "other.ckpt"], "other.ckpt: expected a checkpoint of scrn fit"),
        (["--format", "tflite"], "--format: expected folder, onnx, aoti, web, got tflite"),
        (["--full-precision"], "--full-precision: expected with --format folder, got"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"conv.weight": torch.zeros(1)}}, "other.ckpt")
    command = ["export", "--format", "onnx", "--model", str(PACKAGED_FOLDER)]
    assert main([*command, "--output", "n.onnx", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"scrn export: {expected}")
    assert [path.name for path in tmp_path.iterdir()] == ["other.ckpt"]


def test_labels_are_of_256_classes_at_most(tmp_path: Path) -> None:
    model = replace(saved(TINY, context="f4"), classes=("class",) * 257)
    with pytest.raises(ValueError, match="labels: expected at most 256 classes"):
        export_onnx(model, tmp_path / "n.onnx", labels=True)


def test_networks_in_a_half_type_are_refused(tmp_path: Path) -> None:
    model = saved(TINY, context="f4").fuse(torch.bfloat16)
    expected = r"model: expected float32 weights, got torch\.bfloat16"
    with pytest.raises(ValueError, match=expected):
        export_onnx(model, tmp_path / "n.onnx")
    with pytest.raises(ValueError, match=expected):
        aoti._check(model, tmp_path / "n.pt2", (64, 64), "cpu")
