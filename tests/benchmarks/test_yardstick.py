"""What a disturbed machine took is neither judged nor kept."""

import json

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import readme, summary
from benchmarks.common import checkout, pages, timing, yardstick
from benchmarks.common.yardstick import COPY, FLOOR
from benchmarks.ops import base
from benchmarks.ops.cases import srm
from benchmarks.ops.results import Document, Results

# Seconds by name and number of threads.
QUIET = {(FLOOR, 1): 2.0e-3, (COPY, 1): 1.5e-3, (FLOOR, 2): 1.1e-3, (COPY, 2): 1.0e-3}
CONTENDED = {**QUIET, (FLOOR, 2): 7.6e-3}
SENTENCE = (
    "The machine was disturbed, so nothing is judged: "
    "torch.add(out=) took 7.60 ms with 2 threads, 2.00 ms with 1, at the start."
)


def test_a_quiet_machine_is_believed():
    assert yardstick.disturbance(QUIET, QUIET) is None
    third = {key: seconds * 1.32 for key, seconds in QUIET.items()}
    assert yardstick.disturbance(QUIET, third) is None
    assert yardstick.disturbance(third, QUIET) is None


def test_more_threads_that_are_slower_than_one():
    expected = "torch.add(out=) took 7.60 ms with 2 threads, 2.00 ms with 1, at the "
    less = {**CONTENDED, (FLOOR, 2): 7.0e-3}
    assert yardstick.disturbance(CONTENDED, CONTENDED) == expected + "start"
    assert yardstick.disturbance(CONTENDED, less) == expected + "start"
    assert yardstick.disturbance(less, CONTENDED) == expected + "end"
    noise = {**QUIET, (COPY, 2): 1.6e-3}
    assert yardstick.disturbance(noise, noise) is None
    copy = {**QUIET, (COPY, 2): 1.7e-3}
    assert yardstick.disturbance(copy, copy).startswith("copy took 1.70 ms with 2 threads")


@pytest.mark.parametrize("key", QUIET)
def test_a_yardstick_that_moves_by_more_than_a_third(key):
    moved = {**QUIET, key: QUIET[key] * 1.35}
    for first, last in ((QUIET, moved), (moved, QUIET)):
        text = yardstick.disturbance(first, last)
        assert text.startswith(f"{key[0]} took {1e3 * first[key]:.2f} ms at the start, ")
        assert f"{1e3 * last[key]:.2f} ms at the end" in text
        assert text.endswith(f"with {key[1]} thread" + "s" * (key[1] == 2))


def test_it_is_timed_with_one_and_with_all_threads(monkeypatch):
    monkeypatch.setattr(yardstick, "FLOATS", 1000)
    monkeypatch.setattr(yardstick, "SECONDS", 1e-4)
    times = yardstick.measure("cpu", 2)
    assert times.keys() == QUIET.keys()
    assert all(seconds > 0 for seconds in times.values())
    assert yardstick.measure("cpu", 1).keys() == {(FLOOR, 1), (COPY, 1)}


def quick_run(folder, *arguments):
    short = [
        "--threads",
        "2",
        "--seconds",
        "0.005",
        "--no-compile",
        "--filter",
        "32x64 ",
        "forward",
    ]
    return command.main(["--quick", *short, *arguments, "--out", str(folder)])


@pytest.fixture
def disturbed(monkeypatch, tmp_path, capsys):
    """What a disturbed run printed; its JSON is in the folder."""
    monkeypatch.setattr(yardstick, "measure", lambda device, threads: CONTENDED)
    monkeypatch.setattr(checkout, "commit", lambda: "0123456789ab")
    assert quick_run(tmp_path) == 2
    return capsys.readouterr().out


def test_a_disturbed_run_judges_nothing(disturbed, tmp_path):
    assert SENTENCE in disturbed.splitlines()
    assert not any(word in disturbed for word in ("MISSED", "| met", "Targets"))
    read = json.loads((tmp_path / summary.RESULTS).read_text())
    assert read["bars"] == []
    assert read["environment"]["disturbed"] in SENTENCE
    last = {
        (each["name"], each["threads"]): each["seconds"]
        for each in read["environment"]["yardstick"]["last"]
    }
    assert last == CONTENDED


@pytest.mark.usefixtures("disturbed")
def test_a_disturbed_run_is_not_kept(tmp_path, capsys):
    path, kept = tmp_path / summary.RESULTS, tmp_path / "kept"
    page = tmp_path / "README.md"
    page.write_text("".join(pages.marks(readme.SECTION)))
    before = page.read_text()
    from_run = ["--results", str(tmp_path), "--page", str(page)]
    for program, arguments in (
        (readme, ["--keep", str(tmp_path), "--results", str(kept), "--page", str(page)]),
        (readme, from_run),
        (readme, [*from_run, "--check"]),
        (summary, ["--out", str(tmp_path)]),
    ):
        assert program.main(arguments) == 2
        assert capsys.readouterr().err == f"{path}: {SENTENCE}\n"
    assert not kept.exists()
    assert page.read_text() == before
    assert not (tmp_path / summary.REPORT).exists()


def test_a_quiet_run_is_judged(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(yardstick, "measure", lambda device, threads: QUIET)
    assert quick_run(tmp_path) == 0
    assert "Targets" in capsys.readouterr().out
    read = json.loads((tmp_path / summary.RESULTS).read_text())
    assert len(read["bars"]) == sum(
        bar.case.direction == "forward" and bar.case.low == (32, 64) for bar in srm.FAMILY.bars
    )


def test_a_run_is_disturbed_where_that_of_its_base_was(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(yardstick, "measure", lambda device, threads: QUIET)
    other = Document({"disturbed": "copy took long"}, Results([]))
    monkeypatch.setattr(base, "measure", lambda revision, arguments, device: other)
    assert quick_run(tmp_path, "--base", "HEAD") == 2
    out = capsys.readouterr().out
    assert "so nothing is judged: copy took long." in out
    assert "Targets" not in out
    read = json.loads((tmp_path / summary.RESULTS).read_text())
    assert (read["bars"], read["environment"]["disturbed"]) == ([], "copy took long")


@pytest.mark.parametrize("faster", ["torch.mm", "oneDNN"])
def test_the_rate_of_products_is_that_of_the_faster_library(monkeypatch, faster):
    def time_all(calls, device, threads, seconds):
        results = [call() for call in calls.values()]
        assert all(torch.equal(each, results[0]) for each in results)
        times = {name: 1.0 if name == faster else 2.0 for name in calls}
        return {name: timing.Timing(t, t, t, 1) for name, t in times.items()}

    monkeypatch.setattr(timing, "time_all", time_all)
    assert timing.matrix_product_rate(torch.float32, "cpu", 1) == 2 * 1024**3
