"""The programs that gpu_check.sh starts: what they run, judge and write, on the CPU."""

import json
import os
import subprocess
import sys
from dataclasses import KW_ONLY, dataclass, replace

import pytest
import torch

from benchmarks.gpu import check, key, measure, profile, sanitize, smoke
from benchmarks.gpu.record import OK, Record
from benchmarks.ops import cases, gate
from benchmarks.ops.case import DETERMINISTIC, OURS, Case, Family, Op, draw
from benchmarks.ops.cases import FAMILIES, case_of, operations
from benchmarks.ops.cases.attention import AttentionCase
from benchmarks.ops.cases.srm import LAYOUTS, SampledCase

OPS = operations()
ON_A_GPU = OPS.keys() - {"conv3x3", "upsampled_logits"}
HALVES = {torch.bfloat16, torch.float16}
PATHS = {"fused, flash", "fused, split_softmax"}  # of the attention, by Triton


@pytest.fixture(autouse=True)
def undetermined():
    yield
    torch.use_deterministic_algorithms(False)


# Their CUDA kernels are younger than the results that are kept.
DEPTHWISE = {"multi_scale_depthwise", "large_kernel_depthwise", "depthwise_gelu"}


def test_smoke_covers_every_op_type_layout_direction_and_way():
    named = list(smoke.names("cuda"))
    assert len({name for name, *_ in named}) == len(named)
    types = {torch.float32, *HALVES}
    for op in ON_A_GPU:
        own = [(case, way, mode) for _, case, way, mode in named if case.op == op]
        directions = ("forward", "backward") if OPS[op].differentiable else ("forward",)
        assert {case.direction for case, *_ in own} == set(directions)
        assert {case.dtype for case, *_ in own} >= types
        if op in ("semantic_refine", "offset_sample", *DEPTHWISE):
            assert {case.layout for case, *_ in own} == set(LAYOUTS)
        if op in ("semantic_refine", "offset_sample"):
            assert any(mode == DETERMINISTIC for *_, mode in own)
        for dtype in types:
            by_paths = op == "whitened_attention" and dtype in HALVES
            expected = {OURS, *PATHS} if by_paths else {OURS}
            for direction in directions:
                ways = {w for c, w, _ in own if (c.dtype, c.direction) == (dtype, direction)}
                assert ways == expected


def test_smoke_judges_one_line_a_case(capsys):
    assert smoke.run_group("aggregate_offsets", "cpu", [], bare=False) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    planned = [name for name, case, _, _ in smoke.names("cpu") if case.op == "aggregate_offsets"]
    assert [row["name"] for row in rows] == planned
    assert all(row["status"] == OK and row["errors"] for row in rows)
    assert smoke.run_group("aggregate_offsets", "cpu", planned[1:], bare=True) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"name": planned[0], "status": OK}


def test_smoke_notices_what_is_wrong_and_what_fails(monkeypatch, capsys):
    op = OPS["aggregate_offsets"]

    def wrong(offset, mask):
        if mask.dtype == torch.float64:
            raise RuntimeError("no doubles\nat all")
        return op.definition(offset, mask) * (1 + 1e-4)

    monkeypatch.setitem(op.implementations, OURS, wrong)
    assert smoke.run_group("aggregate_offsets", "cpu", [], bare=False) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["status"] for row in rows} == {"wrong", "failed: RuntimeError: no doubles"}
    for row in rows:
        assert ("float64" in row["name"]) == row["status"].startswith("failed")
        assert "float64" in row["name"] or "output is off by 1.0e-04" in row["note"]


def test_smoke_puts_down_what_a_process_that_ended_early_left_undone(monkeypatch, tmp_path):
    first, second, third = (name for name, *_ in list(smoke.names("cpu"))[:3])
    line = json.dumps({"name": first, "status": OK})
    script = f"print({line!r}, flush=True); raise SystemExit(9)"
    chosen = [row for row in smoke.names("cpu") if row[0] in (first, second, third)]
    monkeypatch.setattr(smoke, "names", lambda device: iter(chosen))
    real = subprocess.Popen

    def fake(command, **options):
        assert command[command.index("--leave-out") + 1 :] == [third]
        return real([sys.executable, "-c", script], **options)

    monkeypatch.setattr(subprocess, "Popen", fake)
    record = Record(tmp_path / "smoke.json")
    record.add(third, OK)
    smoke.run_all("cpu", record)
    found = {row["name"]: row["status"] for row in Record(tmp_path / "smoke.json").rows}
    assert found == {
        first: OK, second: "failed: its process ended with 9 before it", third: OK,
    }  # fmt: skip


def test_key_rows_are_those_that_were_measured():
    rows = key.rows("cuda")
    path = check.ROOT / "benchmarks" / "results" / "nvidia-h200.json"
    stages = json.loads(path.read_text())["stages"]
    measured = [row["name"] for row in stages["key"]["rows"] if OURS in row.get("rows", {})]
    # The last ones were not measured.
    assert set(measured) == set(list(rows)[: len(measured)])
    headlines = [case for case, *_ in list(rows.values())[:24]]
    assert {case.op for case in headlines} == {
        "semantic_refine",
        "whitened_attention",
        "multi_scale_depthwise",
    }
    profiled = {case.title for case, _, kernels in rows.values() if kernels}
    assert "whitened_attention B=16 N=1024 D=256/256 bfloat16 forward" in profiled
    assert "semantic_refine B=1 C=128 128x256 -> 256x512 float32 smooth backward" in profiled
    assert not any("B=8" in title for title in profiled)


REFINE = SampledCase("semantic_refine", (4, 5), (8, 10), channels=3)


def key_run(monkeypatch, tmp_path, *chosen):
    made = {
        key.row_name(case, mode): key.Chosen(case, mode, False)
        for case in chosen
        for mode in case.modes
    }
    monkeypatch.setattr(key, "rows", lambda device: made)
    path = tmp_path / "key.json"
    status = key.main(["--device", "cpu", "--json", str(path)])
    return status, {row["name"]: row for row in Record(path).rows}


def test_key_times_everything_that_is_right(monkeypatch, tmp_path):
    backward = replace(REFINE, direction="backward")
    attention = AttentionCase(8, 16, 16)
    status, rows = key_run(monkeypatch, tmp_path, REFINE, backward, attention)
    assert status == 0
    assert rows["rates"]["copy_bytes"] > 0
    assert set(rows[REFINE.name]["rows"]) >= {"fused", "eager"}
    assert set(rows[attention.name]["rows"]) == {"fused", "eager", "SDPA + rank-1"}
    for row in (rows[each.name] for each in (REFINE, backward, attention)):
        assert row["floor"] > 0
        for each in row["rows"].values():
            assert each["status"] == OK
            assert each["call"] > 0
            assert each["errors"]["output"] < 1e-3
    assert list(rows[f"{backward.name} deterministic"]["rows"]) == [OURS]


def test_key_marks_what_is_wrong_and_goes_on_where_it_stopped(monkeypatch, tmp_path):
    implementations = OPS[REFINE.op].implementations
    with monkeypatch.context() as patch:
        patch.setitem(implementations, OURS, lambda **given: implementations["eager"](**given) + 1)
        status, rows = key_run(patch, tmp_path, REFINE, replace(REFINE, layout="channels_last"))
    assert status == 1
    ours = rows[REFINE.name]["rows"][OURS]
    assert (rows[REFINE.name]["status"], ours["status"]) == ("wrong", "wrong")
    assert "output is off by" in ours["note"]
    Record(tmp_path / "key.json").add(REFINE.name, OK, rows="kept")
    status, rows = key_run(monkeypatch, tmp_path, REFINE, replace(REFINE, layout="channels_last"))
    assert status == 0
    assert rows[REFINE.name]["rows"] == "kept"
    assert rows[replace(REFINE, layout="channels_last").name]["rows"][OURS]["call"] > 0


@dataclass(frozen=True)
class SquareCase(Case):
    numbers: int
    _: KW_ONLY
    op: str = "square"
    layout: str = "rows"
    layouts = ("rows",)

    @property
    def operation(self):
        return FAMILIES["squares"].ops[self.op]

    @property
    def about(self):
        return f"N={self.numbers}"

    @property
    def output_shape(self):
        return (self.batch, self.numbers)

    @property
    def small(self):
        return replace(self, numbers=2)


def test_a_family_needs_one_module(monkeypatch, tmp_path, capsys):
    def every():
        return iter([SquareCase(5), SquareCase(5, direction="backward")])

    square = dict.fromkeys(("fused", "eager"), torch.square)
    op = Op(
        make=lambda case, generator: {"input": draw(generator, *case.output_shape)},
        implementations=square,
        definition=torch.square,
    )
    family = Family(SquareCase, {"square": op}, every, lambda device: every(), every, every, 1, 1)
    monkeypatch.setitem(FAMILIES, "squares", family)
    assert SquareCase(5) in list(cases.full("cpu"))
    assert smoke.run_group("square", "cpu", [], bare=False) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert "square B=1 N=5 backward" in key.rows("cuda")
    assert "square B=1 N=2 backward" in key.rows("cpu")
    assert profile.groups("cuda")["square float32"] == list(every())
    assert "bare square" in dict(sanitize.commands("cpu"))
    read = {"op": "square", "numbers": 5, "batch": 1, "dtype": "float32", "layout": "rows"}
    assert case_of(read | {"direction": "forward"}) == SquareCase(5)
    status, rows = key_run(monkeypatch, tmp_path, *every())
    assert status == 0
    assert rows["square B=1 N=5 backward"]["bytes"] == 5 * 4 * 3
    assert gate.Definition(SquareCase(5), {"input": torch.ones(1, 5), "grad": torch.ones(1, 5)})


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
    row, other = profile.parse(NCU, ["first", "second"])
    assert (row["case"], row["kernel"]) == ("first", "scrn::cuda::scatter_planes_kernel")
    assert row["dram_percent"] == 81.5
    assert row["nanoseconds"] == 12345
    assert row["occupancy_percent"] is None
    assert (other["case"], other["kernel"], other["dram_percent"]) == ("second", "flash", None)
    with pytest.raises(ValueError, match="expected kernels of 1 cases, got 2"):
        profile.parse(NCU, ["first"])


def test_a_counter_that_ncu_does_not_know_loses_only_itself(monkeypatch):
    asked = []

    def run(command):
        wanted = command[command.index("--metrics") + 1].split(",")
        asked.append(wanted)
        if "lts__t_requests_op_red.sum" in wanted:
            return 1, "==ERROR== Failed to find metric lts__t_requests_op_red.sum\n", ""
        return 0, NCU, ""

    monkeypatch.setattr(profile, "run", run)
    found = profile.watched("a group", ["first", "second"])
    assert found["refused"] == ["lts__t_requests_op_red.sum"]
    assert len(found["kernels"]) == 2
    assert [len(each) for each in asked] == [len(profile.METRICS), len(profile.METRICS) - 1]
    monkeypatch.setattr(profile, "run", lambda command: (1, "", "==ERROR== no permission\n"))
    with pytest.raises(RuntimeError, match="exit status 1: ==ERROR== no permission"):
        profile.watched("a group", ["first", "second"])


@pytest.mark.parametrize(
    ("output", "errors"),
    [
        ("========= ERROR SUMMARY: 0 errors\n", 0),
        ("x\n========= ERROR SUMMARY: 17 errors\n", 17),
        ("========= RACECHECK SUMMARY: 3 hazards displayed (2 errors, 1 warning)\n", 3),
        ("nothing", None),
    ],
)
def test_errors_of_the_sanitizer_are_counted(output, errors):
    assert sanitize.errors_of(output) == errors


TESTS = """
import pytest

def test_passes(): open("passed", "a").write("x")
def test_fails():
    import os
    assert os.path.exists("mended"), "not mended"
def test_is_skipped(): pytest.skip("no reason")
@pytest.fixture
def breaks():
    yield
    raise ValueError("broken behind it")
def test_breaks_behind(breaks): pass
"""


def test_tests_that_passed_are_kept_and_not_run_again(tmp_path):
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    path = tmp_path / "test.json"
    environment = os.environ | {"SCRN_ENDED_TESTS": f"{path}::ops", "PYTHONPATH": str(check.ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "benchmarks.gpu.ended_tests"]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist"]

    def run():
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
        return done.returncode, Record(path).row("ops")

    status, row = run()
    assert (status, row["status"]) == (1, "failed")
    assert row["passed"] == ["test_some.py::test_passes"]
    assert set(row["failed"]) == {"test_some.py::test_fails", "test_some.py::test_breaks_behind"}
    assert "not mended" in row["failed"]["test_some.py::test_fails"]
    assert row["skipped"] == {"no reason": 1}
    (tmp_path / "mended").touch()
    _, row = run()
    assert row["passed"] == ["test_some.py::test_passes", "test_some.py::test_fails"]
    assert (tmp_path / "passed").read_text() == "x"
    left = "def test_passes(): pass\ndef test_fails(): pass\n"
    (tmp_path / "test_some.py").write_text(left)
    status, row = run()
    assert (status, row["status"]) == (0, OK)


def test_a_rehearsal_times_calls_alone():
    assert measure.call_seconds(lambda: None, "cpu") < 1
    assert measure.graph_seconds(lambda: None, "cpu") is None
    assert measure.kernel_seconds(lambda: None, "cpu") is None
