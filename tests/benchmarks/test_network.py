"""The benchmark of the whole network: its parts, its gate, its figures."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks.common import memory
from benchmarks.common.checkout import ROOT
from benchmarks.network import __main__ as command
from benchmarks.network import engines, images, measure, report, run, weights
from benchmarks.network.engines import EAGER_FUSED, EXACT, OURS, PLAIN, VARIANTS, Task
from benchmarks.network.run import LARGE, Row
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
def task(tmp_path_factory):
    made = Task(tmp_path_factory.mktemp("network"), "mscan_t", torch.get_num_threads())
    image = images.load(images.find()[1], (64, 96))
    run.prepare(made, image, "an image", export=False)
    return made


@pytest.fixture(scope="module")
def rows(task):
    return run.measure(VARIANTS, task, rounds=2, seconds=0, rates=RATES)


def test_a_run_measures_every_variant(rows):
    assert [row.engine for row in rows] == list(VARIANTS)
    assert all(0 < row.error < EXACT for row in rows)
    assert all(len(row.seconds) == 2 and row.best > 0 for row in rows)
    assert all(row.inference_bytes > 0 for row in rows)
    assert [row.engine for row in rows if row.parts] == [PLAIN, OURS]
    for row in (rows[0], rows[-1]):
        assert set(row.parts) == set(measure.PARTS)
        assert max(row.parts, key=row.parts.get) == "backbone"
    kinds = {
        "convolution 1x1",
        "convolution 3x3",
        "scrn_ops.semantic_refine",
        "scrn_ops.multi_scale_depthwise",
    }
    operators = rows[-1].operators
    assert kinds <= set(operators)
    work = operators["convolution 1x1"]
    assert work.seconds > 0
    assert work.operations > 1e7
    assert work.floor >= work.operations / RATES.product
    assert operators["add"].floor > 0
    lines = list(report.variants(rows, (64, 96), RATES))
    times = rows[-1].best / sum(work.floor for work in operators.values())
    assert any(f"{times:.2f} times the sum of its operators' floors" in line for line in lines)
    table = lines[0].splitlines()
    assert all(any(line.startswith(f"| {each.name} ") for line in table) for each in VARIANTS)


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_what_is_below_the_floors_is_no_speed(rows, share):
    floor = sum(work.floor for work in rows[-1].operators.values())
    quick = [*rows[:-1], replace(rows[-1], seconds=[share * floor])]
    said = [line for line in report.variants(quick, (64, 96), RATES) if "no floor is right" in line]
    assert len(said) == (share < 1)


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
    plain, eager, ours = (
        Row(engine, seconds=seconds)
        for engine, seconds in ((PLAIN, [2.5, 2.3]), (EAGER_FUSED, [1.9, 2.1]), (OURS, [2.0, 3.0]))
    )
    (over_fused, better), (over_eager, enough) = report.judgements(plain, eager, ours, LARGE)
    assert "x0.95" in over_fused
    assert not better
    assert "x1.15" in over_eager
    assert not enough
    ours.seconds.append(1.8)
    assert all(met for _, met in report.judgements(plain, eager, ours, LARGE))
    assert len(report.judgements(plain, eager, ours, (360, 480))) == 1


@pytest.mark.parametrize("spoilt", [PLAIN, OURS], ids=lambda engine: engine.name)
def test_a_wrong_variant_is_not_timed(spoilt, monkeypatch, capsys):
    ask = run.Worker.ask

    def spoil(worker, *question):
        assert not question, "it was timed"
        return ask(worker) + (1 if worker.row.engine == spoilt else 0)

    monkeypatch.setattr(run.Worker, "ask", spoil)
    monkeypatch.setattr(command, "VARIANTS", (PLAIN, OURS))
    assert command.main(["--backbone", "mscan_t", "--size", "64x64", "--device", "cpu"]) == 1
    printed = capsys.readouterr().out
    assert f"WRONG: {spoilt.name} is off by" in printed
    assert printed.count("WRONG") == 1
    assert "no times are shown" in printed


def test_the_calibrated_model_has_offsets_and_statistics():
    image = images.load(images.find()[1], (96, 128))
    model = weights.calibrated("mscan_t", 5, image)
    lengths = []

    def keep(module, inputs, output):
        lengths.append(module.predict(*inputs)[0].square().sum(1).mean().sqrt().item())

    for module in model.upsamplers:
        module.register_forward_hook(keep)
    with torch.no_grad():
        model(image)
    assert lengths == pytest.approx([weights.OFFSET_PIXELS] * 3, rel=1e-3)
    norm = model.backbone.block1[0].norm1
    assert not torch.equal(norm.running_var, torch.ones_like(norm.running_var))
    assert norm.momentum == 0.1
    assert not model.training


def test_variants_share_their_weights_but_not_their_ops():
    original = build_model("mscan_t")
    for engine in VARIANTS:
        layout = torch.channels_last if engine.channels_last else torch.contiguous_format
        model = weights.variant(original, engine.ops, engine.fuse, layout)
        assert {module.backend for module in model.upsamplers} == {engine.ops}
        assert model.head[0].weight.is_contiguous(memory_format=layout)
    assert {module.backend for module in original.upsamplers} == {"fused"}
    assert len({engine.name for engine in VARIANTS}) == len(VARIANTS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the resident memory of a CPU's process")
def test_peak_memory_is_that_of_the_largest_moment():
    """In a process of its own: one that has run other tests would reuse their memory."""
    script = """
import torch
from torch import nn
from benchmarks.network.measure import inference_bytes

class Model(nn.Module):
    def forward(self, x):
        first = torch.ones(25_000_000)  # 100 MB
        second = first + 1
        del first
        return second.mul_(2)

print(inference_bytes(Model(), torch.zeros(1, 3, 64, 64)))
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    peak = int(done.stdout)
    assert 195e6 < peak < 230e6


def test_a_process_that_fails_is_quoted():
    with pytest.raises(RuntimeError, match=r"No module named benchmarks\.no_such"):
        memory.in_own_process("benchmarks.no_such", 1)


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


@pytest.fixture
def measured(rows, monkeypatch):
    """The command without its minutes."""
    monkeypatch.setattr(command, "prepare", lambda *args: None)
    monkeypatch.setattr(command, "measure", lambda *args: rows)


@pytest.mark.usefixtures("measured")
def test_the_command_writes_everything(tmp_path):
    path = tmp_path / "new" / "network.json"
    arguments = ["--quick", "--size", "64x96", "32x32", "--json", str(path), "--device", "cpu"]
    assert command.main(arguments) == 0
    content = json.loads(path.read_text())
    assert content["environment"]["backbone"] == "mscan_s"
    (size,) = content["sizes"]
    assert size["size"] == [64, 96]
    assert [each["name"] for each in size["variants"]] == [each.name for each in VARIANTS]
    assert all(each["peak_bytes"] is not None for each in size["variants"])
    assert size["operators"]["convolution 3x3"]["seconds"] > 0


@pytest.mark.usefixtures("measured")
def test_nothing_is_in_tf32(task, tmp_path):
    """cuDNN's convolutions are by default, and then no variant would pass the gate on a GPU."""

    def allowed():
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    def allow(*values):
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = values

    before, path = allowed(), tmp_path / "network.json"
    arguments = ["--quick", "--size", "64x96", "--json", str(path), "--device", "cpu"]
    try:
        allow(True, True)
        assert command.main(arguments) == 0
        assert allowed() == (False, False)
        # In the process of an engine, too, whichever of torch's two settings is read there.
        allow(True, True)
        engines.build(PLAIN, task)
        assert allowed() == (False, False)
        assert torch.backends.cuda.matmul.fp32_precision != "tf32"
    finally:
        allow(*before)
    assert json.loads(path.read_text())["environment"]["tf32"] is False


def test_sizes_are_checked(capsys):
    with pytest.raises(SystemExit):
        command.main(["--size", "360"])
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
