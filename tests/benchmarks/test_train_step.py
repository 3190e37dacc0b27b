"""The benchmark of a training step refuses wrong ops, and its table is of what it measured."""

import json
import subprocess
import sys

import pytest
import torch
import yaml

from benchmarks import train_step
from benchmarks.common.checkout import ROOT
from scrn.models import with_ops


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The recipe with one small crop of noise, and measured memory replaced by numbers."""
    recipe = yaml.safe_load(train_step.RECIPE.read_text())
    recipe["data"] |= {"batch_size": 1, "crop": [64, 64]}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    monkeypatch.setattr(train_step, "RECIPE", path)
    monkeypatch.setattr(train_step, "camvid_root", lambda: None)
    monkeypatch.setattr(train_step, "keep_freed_memory", lambda: None)
    peaks = {"fused": 100, "eager": 200, "reference": 400}
    monkeypatch.setattr(train_step.memory, "in_own_process", lambda _, ops, *__: peaks[ops])
    return recipe


def test_times_and_memory_of_every_backend(small, tmp_path, capsys):
    path = tmp_path / "step.json"
    assert train_step.main(["--rounds", "1", "--threads", "1", "--json", str(path)]) == 0
    content = json.loads(path.read_text())
    assert list(content["seconds"]) == ["fused", "eager", "reference"]
    assert content["facts"]["images"] == "noise"
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| fused "))
    ratio = content["seconds"]["reference"][0] / content["seconds"]["fused"][0]
    assert float(row.split("|")[4]) == pytest.approx(ratio, abs=0.01)
    assert float(row.split("|")[6]) == 4


def test_another_network_crop_and_number_of_classes(small, tmp_path, monkeypatch):
    seen = []
    made = train_step.batch

    def batch(recipe):
        source, image, labels = made(recipe)
        seen.append((source, image.shape, int(labels.max())))
        return source, image, labels

    monkeypatch.setattr(train_step, "batch", batch)
    monkeypatch.setattr(train_step, "camvid_root", lambda: "not read")
    path = tmp_path / "step.json"
    # At 96x64 one pixel of the noise comes within a rounding of the head's ReLU, and one of so few
    # is a thousandth of the gradient.
    options = ["--ops", "fused", "eager", "--backbone", "mscan_t", "--crop", "64", "96"]
    options += ["--batch", "2", "--classes", "40", "--rounds", "1", "--json", str(path)]
    assert train_step.main(options) == 0
    content = json.loads(path.read_text())
    assert list(content["seconds"]) == ["fused", "eager"]
    assert max(gradient for _, gradient in content["errors"].values()) < 1e-4
    assert content["facts"]["model"]["backbone"] == "mscan_t"
    (source, shape, largest) = seen[0]
    assert (source, shape) == ("noise", (2, 3, 64, 96))
    assert 11 <= largest < 40  # more than the recipe's classes


@pytest.mark.parametrize("backbone", [None, "mscan_t"])
@pytest.mark.parametrize("wrong", ["value", "nan", "gradient"])
def test_wrong_ops_are_not_timed(small, wrong, backbone, monkeypatch, capsys):
    def broken(model, ops):
        made = with_ops(model, ops)
        if ops == "fused" and wrong == "gradient":
            handle = made.model.upsamplers[0].register_full_backward_hook
            handle(lambda _, grads, __: tuple(None if g is None else 1.1 * g for g in grads))
        elif ops == "fused":
            with torch.no_grad():
                made.model.head[-1].bias += (
                    float("nan") if wrong == "nan" else 0.1 * torch.randn(11)
                )
        return made

    def never(*_args):
        raise AssertionError("a wrong backend was timed")

    monkeypatch.setattr(train_step, "with_ops", broken)
    monkeypatch.setattr(train_step, "in_turns", never)
    network = [] if backbone is None else ["--backbone", backbone]
    assert train_step.main(["--threads", "1", *network]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_peak_memory_is_beyond_the_networks_own(small):
    """In a process of its own, as there only: here earlier steps have left memory to reuse."""
    code = (
        "import json, sys; from benchmarks import train_step\n"
        "train_step.camvid_root = lambda: None\n"
        "print(train_step.peak_bytes(json.loads(sys.argv[1]), 'fused'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(small)], check=True, capture_output=True, cwd=ROOT
    )
    maps = 3 * 128 * 16 * 16 * 4  # a few of the decoder's finest maps, at the least
    assert maps < int(done.stdout) < 2e9
