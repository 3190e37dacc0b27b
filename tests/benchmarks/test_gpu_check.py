"""gpu_check.sh where there is no GPU, and what it makes of stages that fail."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

import benchmarks.__main__
import benchmarks.network.__main__
from benchmarks.gpu import collect, counters, micro, small, stage
from benchmarks.gpu.stage import NO_DEVICE, STAGES

SCRIPT = stage.ROOT / "benchmarks" / "gpu_check.sh"
MOST_FILES = 8


def check(*arguments):
    return subprocess.run([str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_every_stage_starts_and_reports_that_there_is_no_device(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHON", sys.executable)
    done = check("--out", tmp_path)
    assert done.returncode == 0, done.stderr
    for name in STAGES:
        facts = json.loads((tmp_path / f"{name}.json").read_text())
        assert facts["status"] == NO_DEVICE
        assert facts["commands"] == []
        assert facts["seconds"] < facts["budget_seconds"]
    assert (tmp_path / "logs.tar.gz").is_file()
    assert len(list(tmp_path.iterdir())) <= MOST_FILES
    assert collect.main([str(tmp_path), "--results", str(tmp_path / "results")]) == 0
    page = (tmp_path / "results" / "no-cuda-device.md").read_text()
    assert page.count(NO_DEVICE) == len(STAGES) + 1


def test_budgets_fit_25_minutes():
    text = SCRIPT.read_text()
    budgets = dict(
        each.split("]=") for each in text.split("BUDGET=([")[1].split(")")[0].split(" [")
    )
    assert list(budgets) == list(STAGES)
    assert max(map(int, budgets.values())) <= 540
    assert sum(map(int, budgets.values())) <= 1500


@pytest.mark.parametrize("arguments", [(), ("--out",), ("--out", "x", "nonsense"), ("--what",)])
def test_wrong_use_is_explained(arguments):
    done = check(*arguments)
    assert done.returncode == 2
    assert "gpu_check.sh --out DIR" in done.stderr


def run(monkeypatch, tmp_path, *commands, budget=60):
    monkeypatch.setattr(
        stage, "commands", lambda *_: [stage.Command(list(each)) for each in commands]
    )
    facts = stage.run("test", tmp_path, "cpu", budget)
    return facts, (tmp_path / "test.log").read_text()


def test_what_fails_stops_nothing(monkeypatch, tmp_path):
    facts, log = run(
        monkeypatch, tmp_path,
        (sys.executable, "-c", "print('first'); raise SystemExit(3)"),
        ("/no/such/program",),
        (sys.executable, "-c", "print('third')"),
    )  # fmt: skip
    statuses = [each["status"] for each in facts["commands"]]
    assert statuses[0] == "failed: exit status 3"
    assert statuses[1].startswith("failed: [Errno 2]")
    assert statuses[2] == "ok"
    assert facts["status"] == statuses[0]
    assert "first" in log
    assert "third" in facts["log_tail"]


def test_budget_ends_a_stage_and_its_children(monkeypatch, tmp_path):
    sleeper = (sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '600'])")
    facts, log = run(monkeypatch, tmp_path, sleeper, sleeper, budget=3)
    assert [each["status"] for each in facts["commands"]] == ["out of time", "not started"]
    assert facts["seconds"] < 20
    assert "the budget is spent" in log


def test_no_command_takes_the_whole_budget_from_the_next(monkeypatch, tmp_path):
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    planned = [stage.Command(sleeper, most=0.1), stage.Command([sys.executable, "-c", "print(7)"])]
    monkeypatch.setattr(stage, "commands", lambda *_: planned)
    facts = stage.run("test", tmp_path, "cpu", 20)
    assert [each["status"] for each in facts["commands"]] == ["out of time", "ok"]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("name", STAGES)
def test_what_the_stages_start_exists(tmp_path, name, device):
    for command in stage.commands(name, device, tmp_path, 100):
        if "-m" in command.argv:
            assert find_spec(command.argv[command.argv.index("-m") + 1])


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_benchmarks_understand_their_arguments(tmp_path, device):
    ops, network = (command.argv[3:] for command in stage.commands("bench", device, tmp_path, 100))
    assert benchmarks.__main__.parse(ops).out == tmp_path
    assert benchmarks.network.__main__.parse(network).json == tmp_path / "network.json"


def test_results_of_commands_become_the_stages_own(monkeypatch, tmp_path):
    xml = (
        '<testsuites><testsuite tests="3" failures="1" errors="0" skipped="1">'
        '<testcase classname="a" name="b"><failure/></testcase><testcase classname="a" name="c"/>'
        '<testcase classname="a" name="d"><skipped message="no reason"/></testcase>'
        "</testsuite></testsuites>"
    )
    monkeypatch.setattr(
        stage,
        "commands",
        lambda _name, _device, folder, _budget: [
            stage.Command(
                [sys.executable, "-c", f"open({str(folder / name)!r}, 'w').write({text!r})"]
            )
            for name, text in (("x.json", "[1]"), ("ops.xml", xml))
        ],
    )
    facts = stage.run("test", tmp_path, "cpu", 60)
    assert facts["details"]["x"] == [1]
    tests = {"tests": 3, "failures": 1, "errors": 0, "skipped": 1, "failed": ["a::b"]}
    tests["skip_reasons"] = {"no reason": 1}
    assert facts["details"]["tests"] == {"ops": tests}


def test_collect_refuses_a_mixture_and_an_empty_folder(tmp_path, capsys):
    assert collect.main([str(tmp_path), "--results", str(tmp_path)]) == 2
    assert "found none of them" in capsys.readouterr().err
    for name, device in (("build", "one"), ("test", "other")):
        facts = {"device": {"name": device}, "status": "ok", "seconds": 1, "budget_seconds": 2}
        (tmp_path / f"{name}.json").write_text(json.dumps({**facts, "details": {}}))
    assert collect.main([str(tmp_path), "--results", str(tmp_path)]) == 2
    assert "of one device, got ['one', 'other']" in capsys.readouterr().err


def test_collected_figures_are_in_the_page(tmp_path):
    rates = {"rows": [{"kind": "red.f32", "addresses": "L2", "floats_per_second": 2.5e11}]}
    facts = {"device": {"name": "GPU 9"}, "status": "ok", "seconds": 1, "budget_seconds": 60}
    (tmp_path / "micro.json").write_text(json.dumps({**facts, "details": {"micro": rates}}))
    assert collect.main([str(tmp_path), "--results", str(tmp_path)]) == 0
    assert "| red.f32 | L2 | 250.0 |" in (tmp_path / "gpu-9.md").read_text()
    assert json.loads((tmp_path / "gpu-9.json").read_text())["device"] == "GPU 9"


NCU = """\
==PROF== Connected
"ID","Kernel Name","dram__throughput.avg.pct_of_peak_sustained_elapsed","gpu__time_duration.sum"
"","","%","ns"
"0","void at::native::kernel<at::native::cos_kernel_cuda(int)>(float *)","1","2,000"
"1","void scrn::cuda::scatter_planes_kernel<float>(P)","81.5","12,345"
"2","void at::native::kernel<at::native::cos_kernel_cuda(int)>(float *)","1","2,000"
"3","flash","n/a","1"
"""


def test_counters_are_read_from_the_csv_and_put_to_their_cases():
    row, other = counters.parse(NCU, ["first", "second"])
    assert (row["case"], row["kernel"]) == ("first", "scrn::cuda::scatter_planes_kernel")
    assert row["dram_percent"] == 81.5
    assert row["nanoseconds"] == 12345
    assert row["occupancy_percent"] is None
    assert (other["case"], other["kernel"], other["dram_percent"]) == ("second", "flash", None)
    with pytest.raises(ValueError, match="expected kernels of 1 cases, got 2"):
        counters.parse(NCU, ["first"])


def test_the_small_cases_of_the_sanitizer_run(capsys):
    try:
        assert small.main(["--device", "cpu"]) == 0
    finally:
        torch.use_deterministic_algorithms(False)
    assert "every op ran" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_120"])
def test_micro_compiles(tmp_path, architecture):
    micro.compile_to(tmp_path / "atomics", architecture)
    assert (tmp_path / "atomics").is_file()
