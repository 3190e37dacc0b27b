"""gpu_check.sh where there is no GPU, what it makes of stages that fail, and what a kill leaves."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
import torch

from benchmarks.gpu import check
from benchmarks.gpu.check import (
    NO_DEVICE,
    NOT_STARTED,
    OUT_OF_TIME,
    STAGES,
    Check,
    Command,
    file_of,
)
from benchmarks.gpu.record import OK, Record

SCRIPT = check.ROOT / "benchmarks" / "gpu_check.sh"
MOST_FILES = 8


def start(*arguments, **options):
    environment = os.environ | {"PYTHON": sys.executable}
    return subprocess.Popen(
        [str(SCRIPT), *map(str, arguments)], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def content(folder):
    return {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_every_stage_reports_that_there_is_no_device(tmp_path):
    script = start("--out", tmp_path)
    _, errors = script.communicate()
    assert script.returncode == 0, errors
    found = content(tmp_path)["check.json"]
    assert found["device"] is None
    assert list(found["stages"]) == list(STAGES)
    assert all(stage["status"] == NO_DEVICE for stage in found["stages"].values())


@pytest.mark.parametrize(
    "arguments", [(), ("--out",), ("--out", "x", "nonsense"), ("--out", "x", "--minutes", "0")]
)
def test_wrong_use_is_explained(tmp_path, arguments):
    script = start(*arguments, cwd=tmp_path)
    _, errors = script.communicate()
    assert script.returncode == 2
    assert "usage: gpu_check.sh" in errors
    assert list(tmp_path.iterdir()) == []


def test_few_files_come_back():
    files = {file_of(stage) for stage in STAGES if stage != "build"}
    assert len(files | {check.CHECK, check.LOG}) <= MOST_FILES


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("name", STAGES)
def test_what_the_stages_start_exists(tmp_path, name, device):
    for command in check.commands(name, device, tmp_path):
        assert 0 < command.most <= 1
        if "-m" in command.argv:
            assert find_spec(command.argv[command.argv.index("-m") + 1])
        for place in (each for each in command.argv if each.startswith("tests/")):
            assert (check.ROOT / place).exists()


class Planned:
    """A check of a folder whose stages run these commands."""

    def __init__(self, monkeypatch, out):
        self.commands, self.shares = {}, {}
        self.out, self.monkeypatch = out, monkeypatch
        monkeypatch.setattr(check, "commands", lambda stage, *_: self.commands[stage])

    def run(self, *stages, seconds=60.0, resume=False):
        run_stage = Check.run_stage

        def kept(it, stage, share):
            self.shares[stage] = share
            run_stage(it, stage, share)

        with self.monkeypatch.context() as patch:
            patch.setattr(Check, "run_stage", kept)
            made = Check(self.out, "cpu")
            made.run(stages, seconds, resume)
        return json.loads((self.out / "check.json").read_text())["stages"]


@pytest.fixture
def planned(monkeypatch, tmp_path):
    return Planned(monkeypatch, tmp_path)


def python(text, most=1.0):
    return Command([sys.executable, "-c", text], most=most)


SLEEP = python("import subprocess; subprocess.run(['sleep', '600'])")


def test_what_fails_stops_nothing(planned):
    planned.commands["smoke"] = [
        python("print('first'); raise SystemExit(3)"),
        Command(["/no/such/program"]),
        python("print('third')"),
    ]
    planned.commands["key"] = [python("print('fourth')")]
    stages = planned.run("smoke", "key")
    statuses = [each["status"] for each in stages["smoke"]["commands"]]
    assert statuses[0] == "failed: exit status 3"
    assert statuses[1].startswith("failed: [Errno 2]")
    assert statuses[2] == OK
    assert stages["smoke"]["status"] == statuses[0]
    assert "first" in stages["smoke"]["log_tail"]
    assert "fourth" not in stages["smoke"]["log_tail"]
    assert stages["key"]["status"] == OK


def test_time_ends_a_stage_and_its_children(planned):
    planned.commands["smoke"] = [SLEEP, SLEEP]
    began = time.monotonic()
    stages = planned.run("smoke", seconds=3)
    assert time.monotonic() - began < 20
    statuses = [each["status"] for each in stages["smoke"]["commands"]]
    assert statuses == [OUT_OF_TIME, NOT_STARTED]
    assert stages["smoke"]["status"] == OUT_OF_TIME
    assert "the time is up" in stages["smoke"]["log_tail"]


def test_no_command_takes_all_time_from_the_next(planned):
    planned.commands["test"] = [python("import time; time.sleep(600)", most=0.1), python("")]
    stages = planned.run("test", seconds=30)
    assert [each["status"] for each in stages["test"]["commands"]] == [OUT_OF_TIME, OK]


def test_the_minutes_are_shared_by_weight_and_what_is_left_over_goes_on(planned):
    planned.commands |= {stage: [python("")] for stage in STAGES}
    planned.run("smoke", "key", "test", seconds=100)
    weights = {name: STAGES[name] for name in ("smoke", "key", "test")}
    assert planned.shares["smoke"] == pytest.approx(100 * weights["smoke"] / 340, abs=1)
    # The first took next to nothing of its 17 seconds.
    assert planned.shares["key"] > 100 * weights["key"] / 340
    assert planned.shares["test"] > planned.shares["key"]
    assert planned.shares["test"] <= 100


def test_resuming_skips_what_ended_well_and_runs_the_rest(planned, tmp_path):
    note = "open({!r}, 'a').write('x')"
    once, twice, well = (tmp_path / name for name in ("once", "twice", "well"))
    failing = note.format(str(twice)) + "; raise SystemExit(1)"
    planned.commands["smoke"] = [python(note.format(str(well)))]
    planned.commands["key"] = [python(note.format(str(once))), python(failing)]
    planned.run("smoke", "key")
    rows = Record(tmp_path / "key.json")
    rows.add("a row", OK)
    stages = planned.run("smoke", "key", resume=True)
    assert [path.read_text() for path in (well, once, twice)] == ["x", "x", "xx"]
    assert [each["status"] for each in stages["key"]["commands"]] == [OK, "failed: exit status 1"]
    # Its share is that of the only stage that is left.
    assert planned.shares["key"] == pytest.approx(60, abs=2)
    assert Record(tmp_path / "key.json").ended_well("a row")
    planned.run("smoke", "key")
    assert [path.read_text() for path in (well, once, twice)] == ["xx", "xx", "xxx"]
    assert not Record(tmp_path / "key.json").ended_well("a row")


def test_a_folder_of_another_device_is_refused(tmp_path, capsys):
    (tmp_path / "check.json").write_text('{"device": {"name": "other"}, "stages": {}}')
    assert check.main(["--out", str(tmp_path), "--device", "cpu", "build"]) == 2
    assert "holds results of other; expected those of cpu" in capsys.readouterr().err


def test_a_row_takes_the_place_of_an_older_one(tmp_path):
    path = tmp_path / "profile.json"
    record = Record(path, ["a", "b"])
    record.add("a", "wrong", figure=2)
    record.add("b", OK, figure=1)
    record.add("a", OK, figure=3)
    left = Record(path)
    assert left.planned == 2
    assert {row["name"]: row["figure"] for row in left.rows} == {"a": 3, "b": 1}


WRITER = """
import sys
from pathlib import Path
from benchmarks.gpu.record import Record
record = Record(Path(sys.argv[1]))
for number in range(10**6):
    record.add(f"row {number % 20}", "ok", filling="x" * 100_000)
"""


def test_the_file_is_whole_whenever_its_writer_is_killed(tmp_path):
    path, order = tmp_path / "key.json", random.Random(0)
    for _ in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=check.ROOT)
        before = path.stat().st_mtime_ns if path.exists() else 0
        while not path.exists() or path.stat().st_mtime_ns == before:
            time.sleep(0.001)
        time.sleep(order.random() / 20)
        writer.kill()
        writer.wait()
        assert json.loads(path.read_text())["rows"]


def test_a_killed_rehearsal_leaves_what_had_ended_and_is_resumed(tmp_path):
    script = start("--out", tmp_path, "--device", "cpu", "key")
    key = tmp_path / "key.json"
    end = time.monotonic() + 300
    while time.monotonic() < end and (
        not key.is_file() or len(json.loads(key.read_text())["rows"]) < 3
    ):
        time.sleep(0.05)
    script.send_signal(signal.SIGKILL)
    script.wait()
    time.sleep(0.5)  # for its children to be told
    found = content(tmp_path)
    rows = found["key.json"]["rows"]
    assert len(rows) >= 3
    assert all(row["status"] == OK for row in rows)
    assert found["check.json"]["stages"]["key"]["status"] == check.RUNNING
    time.sleep(2)
    assert content(tmp_path) == found  # nobody is left who writes
    resumed = start("--out", tmp_path, "--device", "cpu", "--resume", "key")
    output, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    after = content(tmp_path)
    planned = after["key.json"]["planned"]
    assert f"key: ok, {after['check.json']['stages']['key']['seconds']:.0f} s" in output
    assert f"{planned} of {planned} cases" in output
    assert after["key.json"]["rows"][: len(rows)] == rows


def test_the_tree_that_travels_is_small():
    listed = subprocess.run(
        ["git", "-C", str(check.ROOT), "ls-files", "-z"], capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a checkout")
    files = [check.ROOT / name for name in listed.stdout.split("\0") if name]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 64 << 20
