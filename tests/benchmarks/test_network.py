"""The benchmark of the whole network: its parts, its gate, its figures."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from benchmarks.common.checkout import ROOT
from benchmarks.network import __main__ as command
from benchmarks.network import images, measure, memory, report, run, variants
from benchmarks.network.variants import EAGER_FUSED, OURS, PLAIN, VARIANTS
from scrn import build_model

INNER, OUTER = 0.4, 0.02
RATES = measure.Rates(product=1e11, copy=1e10)


class Sleeper(nn.Module):
    def __init__(self, seconds, inner=None):
        super().__init__()
        self.seconds, self.inner = seconds, inner

    def forward(self, x):
        time.sleep(self.seconds)
        return x if self.inner is None else self.inner(x) + 1


def test_a_module_has_its_own_time_without_that_of_those_within():
    inner = Sleeper(INNER)
    outer = Sleeper(OUTER, inner)

    def call():
        with measure.marked({inner: "inner", outer: "outer"}):
            outer(outer(torch.ones(3)))

    seconds = measure.own_seconds(call, "cpu")
    assert seconds.keys() == {"inner", "outer"}
    assert seconds["inner"] >= 2 * INNER
    assert 2 * OUTER <= seconds["outer"] < 2 * INNER  # on a busy machine a sleep lasts longer
    assert measure.own_seconds(lambda: outer(torch.ones(3)), "cpu") == {}  # the hooks are gone


@pytest.fixture(scope="module")
def outcome():
    image = images.load(images.find()[1], (64, 96))
    return run.run("mscan_t", image, RATES, rounds=2, seconds=0, report=lambda text: None)


def test_a_run_measures_every_variant(outcome):
    assert outcome.size == (64, 96)
    assert not outcome.wrong
    assert set(outcome.errors) == set(outcome.seconds) == set(outcome.peak_bytes) == set(VARIANTS)
    assert all(0 < error < run.ALLOWED for error in outcome.errors.values())
    assert all(len(each) == 2 and min(each) > 0 for each in outcome.seconds.values())
    for parts in outcome.parts.values():
        assert set(parts) == set(measure.PARTS)
        assert max(parts, key=parts.get) == "backbone"
    kinds = {
        "convolution 1x1",
        "gelu",
        "scrn_ops.semantic_refine",
        "scrn_ops.multi_scale_depthwise",
    }
    assert kinds <= set(outcome.operators)
    work = outcome.operators["convolution 1x1"]
    assert work.seconds > 0
    assert work.operations > 1e7
    assert work.floor >= work.operations / RATES.product
    assert outcome.operators["add"].floor > 0
    lines = report.text(outcome, RATES).splitlines()
    floor = sum(work.floor for work in outcome.operators.values())
    times = outcome.best(OURS) / floor
    assert any(f"{times:.2f} times the sum of its operators' floors" in line for line in lines)
    assert all(any(line.startswith(f"| {variant.name} ") for line in lines) for variant in VARIANTS)


def test_a_floor_is_of_operations_or_of_bytes():
    assert RATES.floor(10**11, 8) == 1
    assert RATES.floor(8, 10**10) == 1

    class Add(nn.Module):
        def forward(self, x):
            return (x.unsqueeze(0) + 1)[0]

    found = measure.inference_by_operator(Add(), torch.ones(1000), 1, RATES)
    assert found["add"].floor == (4000 + 4000) / RATES.copy
    assert found["add"].operations == 1000
    assert found["unsqueeze"].floor == 0


def test_judgements_are_of_the_best_times():
    outcome = run.Outcome(run.LARGE)
    outcome.seconds = {PLAIN: [2.5, 2.3], EAGER_FUSED: [1.9, 2.1], OURS: [2.0, 3.0]}
    (over_fused, better), (over_eager, enough) = outcome.judgements
    assert "x0.95" in over_fused
    assert not better
    assert "x1.15" in over_eager
    assert not enough
    outcome.seconds[OURS].append(1.8)
    assert all(met for _, met in outcome.judgements)
    outcome.size = (360, 480)
    assert len(outcome.judgements) == 1


@pytest.mark.parametrize("spoilt", [PLAIN, OURS], ids=lambda variant: variant.name)
def test_a_wrong_variant_is_not_timed(spoilt, monkeypatch, capsys):
    made = variants.Variant.model

    def spoil(variant, original):
        model = made(variant, original)
        if variant == spoilt:
            offset = model.upsamplers[0].offset
            last = offset if isinstance(offset, nn.Conv2d) else offset[-1]
            last.bias.data.add_(0.1)
        return model

    monkeypatch.setattr(variants.Variant, "model", spoil)
    monkeypatch.setattr(run, "_time", None)
    assert command.main(["--backbone", "mscan_t", "--size", "64x64", "--device", "cpu"]) == 1
    printed = capsys.readouterr().out
    assert f"WRONG: {spoilt.name} is off by" in printed
    assert printed.count("WRONG") == 1
    assert "nothing was timed" in printed


def test_the_calibrated_model_has_offsets_and_statistics():
    image = images.load(images.find()[1], (96, 128))
    model = variants.calibrated("mscan_t", 5, image)
    lengths = []

    def keep(module, inputs, output):
        lengths.append(module.predict(*inputs)[0].square().sum(1).mean().sqrt().item())

    for module in model.upsamplers:
        module.register_forward_hook(keep)
    with torch.no_grad():
        model(image)
    assert lengths == pytest.approx([variants.OFFSET_PIXELS] * 3, rel=1e-3)
    norm = model.backbone.block1[0].norm1
    assert not torch.equal(norm.running_var, torch.ones_like(norm.running_var))
    assert norm.momentum == 0.1
    assert not model.training


def test_variants_share_their_weights_but_not_their_ops():
    original = build_model("mscan_t")
    for variant in VARIANTS:
        model = variant.model(original)
        assert {module.backend for module in model.upsamplers} == {variant.ops}
        assert model.head[0].weight.is_contiguous(memory_format=variant.layout)
    assert {module.backend for module in original.upsamplers} == {"fused"}
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the resident memory of a CPU's process")
def test_peak_memory_is_that_of_the_largest_moment():
    """In a process of its own: one that has run other tests would reuse their memory."""
    script = """
import torch
from torch import nn
from benchmarks.network import memory, variants

class Model(nn.Module):
    def forward(self, x):
        rows = 1 if x.shape[2] == 64 else 25_000_000
        first = torch.ones(rows)  # 100 MB
        second = first + 1
        del first
        return second.mul_(2)

memory.build_model = lambda *args, **kwargs: None
variants.Variant.model = lambda variant, original: Model()
memory.main('[0, "", 1, [65, 64], "cpu", 1]')
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    peak = int(done.stdout)
    assert 195e6 < peak < 230e6


def test_peak_memory_failures_are_told():
    with pytest.raises(RuntimeError, match="backbone: expected one of"):
        memory.peak_bytes(PLAIN, "mscan_x", 19, (64, 64), "cpu")


def test_images(monkeypatch, tmp_path):
    monkeypatch.delenv("SCRN_CAMVID", raising=False)
    monkeypatch.setattr("benchmarks.common.camvid.ROOT", tmp_path / "repository")
    source, path = images.find()
    assert source == "scikit-image's motorcycle_left.png"
    image = images.load(path, (70, 50))
    assert image.shape == (1, 3, 70, 50)
    assert image.mean().abs() < 1.5
    assert 0.3 < image.std() < 2
    camvid = tmp_path / "repository" / "data" / "camvid"
    for folder in ("val", "valannot"):
        (camvid / folder).mkdir(parents=True)
    (camvid / "val" / "b.jpg").touch()
    (camvid / "val" / "a.jpg").touch()
    assert images.find()[0] == "CamVid's a"


def test_the_command_writes_everything(outcome, monkeypatch, tmp_path):
    path = tmp_path / "new" / "network.json"
    monkeypatch.setattr(command, "run", lambda *args, **kwargs: outcome)
    arguments = ["--quick", "--size", "64x96", "32x32", "--json", str(path), "--device", "cpu"]
    assert command.main(arguments) == 0
    content = json.loads(path.read_text())
    assert content["environment"]["backbone"] == "mscan_s"
    (size,) = content["sizes"]
    assert size["size"] == [64, 96]
    assert [each["name"] for each in size["variants"]] == [each.name for each in VARIANTS]
    assert all(each["peak_bytes"] is not None for each in size["variants"])
    assert size["operators"]["gelu"]["seconds"] > 0


def test_nothing_is_in_tf32(outcome, monkeypatch, tmp_path):
    """cuDNN's convolutions are by default, and then no variant would pass the gate on a GPU."""
    seen = []

    def allowed():
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    def keep(*args, **kwargs):
        seen.append(allowed())
        return outcome

    before = allowed()
    monkeypatch.setattr(command, "run", keep)
    path = tmp_path / "network.json"
    arguments = ["--quick", "--size", "64x96", "--json", str(path), "--device", "cpu"]
    try:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        assert command.main(arguments) == 0
        # The attention's kernels read the newer setting.
        assert torch.backends.cuda.matmul.fp32_precision != "tf32"
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    assert seen == [(False, False)]
    assert json.loads(path.read_text())["environment"]["tf32"] is False


def test_sizes_are_checked(capsys):
    with pytest.raises(SystemExit):
        command.parse(["--size", "360"])
    assert "expected HEIGHTxWIDTH, got '360'" in capsys.readouterr().err


def test_without_scikit_image_there_is_the_page_of_frames(tmp_path):
    code = (
        "import sys; sys.modules['skimage'] = None\n"
        "from pathlib import Path\n"
        "from benchmarks.common import camvid\n"
        "from benchmarks.network import __main__, images\n"
        f"camvid.ROOT = Path({str(tmp_path)!r})\n"
        "print(tuple(images.load(images.find()[1], (64, 96)).shape))\n"
    )
    environment = {name: v for name, v in os.environ.items() if name != "SCRN_CAMVID"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "(1, 3, 64, 96)"
