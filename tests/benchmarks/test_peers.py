"""The network beside other engines: their processes, their order, their verdict."""

import json
import re
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from benchmarks.network import __main__ as command
from benchmarks.network import peers, report, run
from benchmarks.network.engines import EXPECTED, IMAGE, NUM_CLASSES, WEIGHTS, Engine, Task, engines
from benchmarks.network.engines import OURS_KEPT as OURS
from benchmarks.network.run import LARGE, MIDDLE, Row
from scrn import build_model

PLAIN = Engine("scrn")
ORT = Engine("onnxruntime")
HALF = Engine("openvino", bfloat16=True)


def row(engine, seconds, error=1e-6):
    cpu_seconds = [2 * each for each in seconds]
    return Row(engine, error, seconds=seconds, cpu_seconds=cpu_seconds, peak_bytes=10**9)


def text(rows, size):
    return "\n".join(report.engines(rows, size))


def test_what_is_faster_than_ours_comes_first():
    """By the median of the rounds' ratios, here 1.3 for a slow spell that hit both."""
    ours = row(OURS, [1.0, 10.0, 1.0])
    rows = [ours, row(PLAIN, [1.1, 13.0, 5.0]), row(ORT, [0.9, 9.0, 0.9])]
    assert rows[1].ratio(ours) == pytest.approx(1.3)
    lines = text(rows, LARGE).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == [ORT.name, OURS.name, PLAIN.name]
    assert "x0.90 over ONNX Runtime" in lines[-1]
    assert lines[-1].endswith("(target: 1.4): MISSED")
    met = text([ours, row(PLAIN, [1.1, 13.0, 5.0])], MIDDLE).splitlines()[-1]
    assert met.endswith("(target: 1.2): met")
    assert "target" not in text(rows, (64, 64)).splitlines()[-1]


def test_half_precision_and_our_other_rows_are_not_who_has_to_be_beaten():
    ours = row(OURS, [1.0])
    other = row(Engine("scrn", "fused", fuse=True), [0.5])
    rows = [ours, other, row(HALF, [0.3], 2e-2), row(ORT, [1.5])]
    assert rows[2].is_right
    assert "x1.50 over ONNX Runtime" in text(rows, LARGE).splitlines()[-1]


@pytest.mark.parametrize("error", [2e-4, float("nan")])
def test_a_wrong_row_has_no_time(error):
    said = text([row(OURS, [1.0]), row(ORT, [0.1], error), row(PLAIN, [2.0])], LARGE)
    assert said.startswith("WRONG: ONNX Runtime is off by")
    assert "x2.00 over eager ops" in said
    assert "| ONNX" not in said
    assert "nothing is compared" in text([row(OURS, [1.0], error)], LARGE)


def test_names_differ_and_missing_packages_are_named(monkeypatch, capsys):
    names = [engine.name for engine in engines(bfloat16=True)]
    assert len(set(names)) == len(names)
    assert not any(engine.bfloat16 for engine in engines(bfloat16=False))
    monkeypatch.setattr("benchmarks.network.engines.find_spec", lambda name: None)
    assert ORT.missing == "onnxruntime"
    assert OURS.missing == "torch"
    monkeypatch.setattr(command, "prepare", lambda *args: None)
    monkeypatch.setattr(command, "measure", lambda chosen, *args: [row(e, [1.0]) for e in chosen])
    assert peers.main(["--size", "64x64", "--only", "OpenVINO"]) == 0
    assert "OpenVINO: openvino is not installed (pip install '.[peers]')" in capsys.readouterr().out


def test_without_an_engine_that_reads_onnx_nothing_is_exported(monkeypatch, capsys):
    exports = []
    monkeypatch.setattr(command, "prepare", lambda *args: exports.append(args[-1]))
    monkeypatch.setattr("benchmarks.network.engines.find_spec", lambda name: name)
    monkeypatch.setattr(command, "measure", lambda chosen, *args: [row(e, [1.0]) for e in chosen])
    for only in ("fused ops", "ONNX"):
        assert peers.main(["--size", "64x64", "--only", only]) == 0
    assert exports == [False, True]
    # Ours was among them without being named.
    assert "the best other" in capsys.readouterr().out.splitlines()[-1]
    with pytest.raises(SystemExit):
        peers.main(["--only", "OpenVNIO"])
    assert re.search(r"--only: expected a part of .*, OpenVINO.*got 'OpenVNIO'",
                     capsys.readouterr().err.replace("\n", " "))  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What ``prepare`` writes, but for the exported network."""
    folder = tmp_path_factory.mktemp("peers")
    torch.manual_seed(0)
    model = build_model("mscan_t", num_classes=NUM_CLASSES).eval()
    image = torch.randn(1, 3, 64, 64)
    torch.save(model.state_dict(), folder / WEIGHTS)
    np.save(folder / IMAGE, image.numpy())
    with torch.no_grad():
        np.save(folder / EXPECTED, model.double()(image.double()).numpy())
    return folder


def test_every_engine_takes_its_turn_in_a_process_of_its_own(folder):
    rows = run.measure([OURS, PLAIN], Task(folder, "mscan_t", 1), rounds=2, seconds=0)
    assert [each.engine for each in rows] == [OURS, PLAIN]
    for each in rows:
        assert 0 < each.error < 1e-5
        assert len(each.seconds) == len(each.cpu_seconds) == 2
        assert min(each.seconds) > 0
        assert min(each.cpu_seconds) > 0
        assert 5e7 < each.peak_bytes < 5e9


def test_ours_in_bfloat16_is_rounded_and_still_takes_its_turn(folder):
    half = replace(OURS, bfloat16=True)
    (found,) = run.measure([half], Task(folder, "mscan_t", 1), rounds=1, seconds=0)
    assert 1e-3 < found.error < half.allowed
    assert len(found.seconds) == 1


def test_an_engine_with_other_logits_gets_no_turn(folder, tmp_path):
    for name in (WEIGHTS, IMAGE):
        (tmp_path / name).symlink_to(folder / name)
    np.save(tmp_path / EXPECTED, 1.001 * np.load(folder / EXPECTED))
    (found,) = run.measure([PLAIN], Task(tmp_path, "mscan_t", 1), rounds=1, seconds=0)
    assert found.error == pytest.approx(1e-3, rel=0.05)
    assert found.seconds == []


def test_an_engine_that_dies_is_named_and_the_others_go_on(folder, monkeypatch, tmp_path, capsys):
    """One before its first answer, one between its turns."""
    turn = run.Worker.turn

    def kill(worker):
        if worker.row.engine == PLAIN and worker.row.seconds:
            worker.process.kill()
            worker.process.wait()
        turn(worker)

    monkeypatch.setattr(run.Worker, "turn", kill)
    monkeypatch.setattr(peers, "engines", lambda bfloat16: [ORT, OURS, PLAIN])
    monkeypatch.setattr(Engine, "missing", None)
    monkeypatch.setattr(command, "prepare", lambda *args: None)
    named = tmp_path / "mscan_t_64x64"
    named.symlink_to(folder)
    path = tmp_path / "peers.json"
    size = ["--backbone", "mscan_t", "--size", "64x64", "--folder", str(tmp_path)]
    assert peers.main([*size, "--rounds", "3", "--seconds", "0", "--json", str(path)]) == 1
    said = capsys.readouterr().out
    assert "ONNX Runtime ended; its last words: " in said
    assert "onnx" in said.split("ONNX Runtime ended; its last words: ")[1].splitlines()[0].lower()
    assert "eager ops ended; its last words: nothing" in said
    (found,) = json.loads(path.read_text())["sizes"]
    counts = {each["name"]: len(each["seconds"] or ()) for each in found["variants"]}
    assert counts == {ORT.name: 0, OURS.name: 3, PLAIN.name: 1}
    assert found["wrong"] == [ORT.name, PLAIN.name]


def test_a_folder_is_used_again_only_for_the_same(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        run, "calibrated", lambda *args: made.append(args) or build_model("mscan_t")
    )
    monkeypatch.setattr(run, "commit", lambda: "fedcba987654")
    image, task = torch.randn(1, 3, 64, 64), Task(tmp_path, "mscan_t", 1)
    run.prepare(task, image, "a photo", export=False)
    run.prepare(task, image, "a photo", export=False)
    assert len(made) == 1
    run.prepare(task, image, "another photo", export=False)
    assert len(made) == 2
    (tmp_path / run.MADE_OF).unlink()  # as after a kill on the way
    run.prepare(task, image, "another photo", export=False)
    assert len(made) == 3
    monkeypatch.setattr(run, "commit", lambda: "0123456789ab")
    run.prepare(task, image, "another photo", export=False)
    assert len(made) == 4
    for unknown in ("0123456789ab, changed", None):  # which two different trees have alike
        monkeypatch.setattr(run, "commit", lambda unknown=unknown: unknown)
        run.prepare(task, image, "another photo", export=False)
        run.prepare(task, image, "another photo", export=False)
    assert len(made) == 8


@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnxruntime", "onnxscript", "openvino")),
    reason="needs the extra peers",
)
def test_the_command_with_the_engines_that_read_what_torch_exports(tmp_path, capsys):
    path = tmp_path / "peers.json"
    arguments = ["--backbone", "mscan_t", "--size", "64x96", "--rounds", "1", "--seconds", "0"]
    chosen = ["--only", "ONNX", "OpenVINO", "fused ops"]
    assert peers.main([*arguments, *chosen, "--json", str(path)]) == 0
    (size,) = json.loads(path.read_text())["sizes"]
    kinds = {each["kind"] for each in size["variants"]}
    assert kinds == {"scrn", "onnxruntime", "openvino"}
    assert all(each["error"] < 1e-4 for each in size["variants"] if not each["bfloat16"])
    assert "the best other" in capsys.readouterr().out
