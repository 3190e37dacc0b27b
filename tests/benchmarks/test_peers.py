"""The network beside other engines: their processes, their order, their verdict."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from benchmarks.network import peers
from benchmarks.network.engines import EXPECTED, IMAGE, OURS, WEIGHTS, Engine, engines
from benchmarks.network.peers import MIDDLE, Row
from benchmarks.network.run import LARGE
from scrn import build_model

PLAIN = Engine("scrn")
ORT = Engine("onnxruntime")
HALF = Engine("openvino", bfloat16=True)


def row(engine, seconds, error=1e-6):
    return Row(engine, error, seconds, [2 * each for each in seconds], 10**9)


def test_what_is_faster_than_ours_comes_first():
    """By the median of the rounds' ratios, here 1.3 for a slow spell that hit both."""
    ours = row(OURS, [1.0, 10.0, 1.0])
    rows = [ours, row(PLAIN, [1.1, 13.0, 5.0]), row(ORT, [0.9, 9.0, 0.9])]
    assert rows[1].ratio(ours) == pytest.approx(1.3)
    lines = peers.text(rows, LARGE).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == [ORT.name, OURS.name, PLAIN.name]
    assert "x0.90 over ONNX Runtime" in lines[-1]
    assert lines[-1].endswith("(target: 1.4): MISSED")
    met = peers.text([ours, row(PLAIN, [1.1, 13.0, 5.0])], MIDDLE).splitlines()[-1]
    assert met.endswith("(target: 1.2): met")
    assert "target" not in peers.text(rows, (64, 64)).splitlines()[-1]


def test_half_precision_and_our_other_rows_are_not_who_has_to_be_beaten():
    ours = row(OURS, [1.0])
    other = row(Engine("scrn", "fused", fuse=True), [0.5])
    rows = [ours, other, row(HALF, [0.3], 2e-2), row(ORT, [1.5])]
    assert rows[2].is_right
    assert "x1.50 over ONNX Runtime" in peers.text(rows, LARGE).splitlines()[-1]


@pytest.mark.parametrize("error", [2e-4, float("nan")])
def test_a_wrong_row_has_no_time(error):
    text = peers.text([row(OURS, [1.0]), row(ORT, [0.1], error), row(PLAIN, [2.0])], LARGE)
    assert text.startswith("WRONG: ONNX Runtime is off by")
    assert "x2.00 over eager ops" in text
    assert "| ONNX" not in text
    assert "nothing is compared" in peers.text([row(OURS, [1.0], error)], LARGE)


def test_names_differ_and_missing_packages_are_named(monkeypatch, capsys):
    names = [engine.name for engine in engines(bfloat16=True)]
    assert len(set(names)) == len(names)
    assert not any(engine.bfloat16 for engine in engines(bfloat16=False))
    monkeypatch.setattr("benchmarks.network.engines.find_spec", lambda name: None)
    assert ORT.missing == "onnxruntime"
    assert OURS.missing == "torch"
    monkeypatch.setattr(peers, "prepare", lambda *args: None)
    monkeypatch.setattr(peers, "measure", lambda chosen, *args: [row(e, [1.0]) for e in chosen])
    assert peers.main(["--size", "64x64", "--only", "OpenVINO"]) == 0
    assert "OpenVINO: openvino is not installed (pip install '.[peers]')" in capsys.readouterr().out


def test_without_an_engine_that_reads_onnx_nothing_is_exported(monkeypatch):
    exports = []
    monkeypatch.setattr(peers, "prepare", lambda *args: exports.append(args[-1]))
    monkeypatch.setattr("benchmarks.network.engines.find_spec", lambda name: name)
    monkeypatch.setattr(peers, "measure", lambda chosen, *args: [row(e, [1.0]) for e in chosen])
    for only in ("fused ops", "ONNX"):
        assert peers.main(["--size", "64x64", "--only", only]) == 0
    assert exports == [False, True]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What ``prepare`` writes, but for the exported network."""
    folder = tmp_path_factory.mktemp("peers")
    torch.manual_seed(0)
    model = build_model("mscan_t", num_classes=peers.NUM_CLASSES).eval()
    image = torch.randn(1, 3, 64, 64)
    torch.save(model.state_dict(), folder / WEIGHTS)
    np.save(folder / IMAGE, image.numpy())
    with torch.no_grad():
        np.save(folder / EXPECTED, model.double()(image.double()).numpy())
    return folder


def test_every_engine_takes_its_turn_in_a_process_of_its_own(folder):
    rows = peers.measure([OURS, PLAIN], folder, "mscan_t", 1, rounds=2, seconds=0)
    assert [each.engine for each in rows] == [OURS, PLAIN]
    for each in rows:
        assert 0 < each.error < 1e-5
        assert len(each.seconds) == len(each.cpu_seconds) == 2
        assert min(each.seconds) > 0
        assert min(each.cpu_seconds) > 0
        assert 5e7 < each.peak_bytes < 5e9


def test_an_engine_with_other_logits_gets_no_turn(folder, tmp_path):
    for name in (WEIGHTS, IMAGE):
        (tmp_path / name).symlink_to(folder / name)
    np.save(tmp_path / EXPECTED, 1.001 * np.load(folder / EXPECTED))
    (found,) = peers.measure([PLAIN], tmp_path, "mscan_t", 1, rounds=1, seconds=0)
    assert found.error == pytest.approx(1e-3, rel=0.05)
    assert found.seconds == []


def test_a_process_that_dies_is_quoted(folder):
    with pytest.raises(RuntimeError, match=r"eager ops ended; its last words: .*mscan_x"):
        peers.measure([PLAIN], folder, "mscan_x", 1, rounds=1, seconds=0)


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
    kinds = {each["engine"]["kind"] for each in size["rows"]}
    assert kinds == {"scrn", "onnxruntime", "openvino"}
    assert all(each["error"] < 1e-4 for each in size["rows"] if not each["engine"]["bfloat16"])
    assert "the best other" in capsys.readouterr().out
