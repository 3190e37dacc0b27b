"""A wrong result gets no speed, and the run that met one ends with exit status 1."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks.common import timing, yardstick
from benchmarks.common.yardstick import FLOOR
from benchmarks.ops import base, gate
from benchmarks.ops.case import BASELINE, COMPILED, OURS, arguments
from benchmarks.ops.cases import operations
from benchmarks.ops.cases.depthwise import OPS as DEPTHWISE
from benchmarks.ops.cases.depthwise import DepthwiseCase
from benchmarks.ops.cases.srm import LAYOUTS, SampledCase
from benchmarks.ops.report import page
from benchmarks.ops.results import FAILED, OK, WRONG, Document
from benchmarks.ops.run import Runner

OPS = operations()

SMALL = SampledCase("semantic_refine", (6, 7), (11, 13), batch=2, channels=5)
QUICK = ["--quick", "--threads", "1", "--seconds", "0.01", "--no-compile", "--filter", "32x64 "]


@pytest.fixture
def quiet(monkeypatch):
    """As if nothing else ran on the machine."""
    monkeypatch.setattr(yardstick, "measure", lambda device, threads: {(FLOOR, threads): 1.0})


@pytest.fixture(autouse=True)
def known_product_rate(monkeypatch):
    """Beside which no result is right or wrong; in half types it takes some processors seconds."""
    monkeypatch.setattr(timing, "matrix_product_rate", lambda dtype, device, threads: 1e11)


class _ScaledGradient(torch.autograd.Function):
    """The identity, with a gradient that is a thousandth too large."""

    @staticmethod
    def forward(_, tensor):
        return tensor.clone()

    @staticmethod
    def backward(_, grad):
        return grad * 1.001


def one_value_off(right):
    def wrong(low, offset, mask, skip):
        output = right(low, offset, mask, skip)
        error = torch.zeros_like(output)
        error[0, 2, 3, 4] = 0.3
        return output + error

    return wrong


def one_value_nan(right):
    def wrong(low, offset, mask, skip):
        output = right(low, offset, mask, skip)
        error = torch.zeros_like(output)
        error[0, 2, 3, 4] = float("nan")
        return output + error

    return wrong


def axes_swapped(right):
    return lambda low, offset, mask, skip: right(low, offset.flip(1), mask, skip)


def skip_forgotten(right):
    return lambda low, offset, mask, skip: right(low, offset, mask, 0 * skip)


def row_missing(right):
    return lambda low, offset, mask, skip: right(low, offset, mask, skip)[:, :, :-1]


def gradient_too_large(name):
    def plant(right):
        def wrong(**tensors):
            tensors[name] = _ScaledGradient.apply(tensors[name])
            return right(**tensors)

        return wrong

    return plant


def plant(monkeypatch, implementation, make):
    table = OPS["semantic_refine"].implementations
    monkeypatch.setitem(table, implementation, make(table[implementation]))


@pytest.mark.parametrize(
    ("direction", "make"),
    [
        ("forward", one_value_off),
        ("forward", one_value_nan),
        ("forward", axes_swapped),
        ("forward", skip_forgotten),
        ("forward", row_missing),
        ("backward", gradient_too_large("low")),
        ("backward", gradient_too_large("offset")),
        ("backward", gradient_too_large("mask")),
        ("backward", gradient_too_large("skip")),
    ],
)
@pytest.mark.usefixtures("quiet")
def test_planted_wrong_result_is_refused(monkeypatch, capsys, tmp_path, direction, make):
    plant(monkeypatch, OURS, make)
    path = tmp_path / "results.json"
    status = command.main([*QUICK, direction, "nchw", "--out", str(tmp_path)])
    text = capsys.readouterr().out
    assert status == 1
    (line,) = (line for line in text.splitlines() if f"| {OURS} " in line)
    assert f"| {OURS} (**wrong**: " in line
    assert "is off by" in line
    assert "1 rows refused or failed" in text
    document = json.loads(path.read_text())
    rows = {row["implementation"]: row for row in document["rows"]}
    assert rows[OURS]["status"] == WRONG
    assert rows[OURS]["seconds"] is None
    for other in (BASELINE, FLOOR):
        assert rows[other]["status"] == OK
        assert rows[other]["seconds"] > 0


@pytest.mark.usefixtures("quiet")
def test_right_results_pass_and_exit_with_zero(capsys, tmp_path):
    path = tmp_path / "results.json"
    assert command.main([*QUICK, "forward", "nchw", "--out", str(tmp_path)]) == 0
    assert "wrong" not in capsys.readouterr().out
    rows = json.loads(path.read_text())["rows"]
    assert all(row["seconds"] > 0 for row in rows if row["implementation"] != COMPILED)
    assert Document.load(path).environment["disturbed"] is None


@pytest.mark.usefixtures("quiet")
def test_comparison_with_another_commit(capsys, tmp_path):
    """Of the same code: through a worktree that is gone afterwards. The run there times its own
    yardstick, and the two are judged together."""
    one = [*QUICK, "forward", "nchw", "--base", "HEAD", "--out", str(tmp_path)]
    status = command.main(one)
    read = Document.load(tmp_path / "results.json")
    assert read.environment["disturbed"] == read.base.environment["disturbed"]
    assert status == (2 if read.environment["disturbed"] else 0)
    assert read.base.environment["commit"] == "HEAD"
    case = read.results.rows[0].case
    assert 0.1 < read.base.results.seconds(case, 1, OURS) / read.results.seconds(case, 1, OURS) < 10
    assert "Against HEAD" in page.report(read, [], [], None)
    with pytest.raises(RuntimeError, match="no-such-commit"):
        base.measure("no-such-commit", [], "cpu")


def run(*chosen, compile_budget=0.0, threads=(1,)):
    return Runner("cpu", threads, 0.005, compile_budget).run(chosen, lambda _: None).rows


def test_wrong_in_one_layout_only_is_refused_there_only(monkeypatch):
    def make(right):
        def wrong(low, offset, mask, skip):
            dense = low.is_contiguous(memory_format=torch.channels_last)
            return right(low, offset, mask, skip) + (1e-3 if dense else 0)

        return wrong

    plant(monkeypatch, OURS, make)
    rows = run(*(replace(SMALL, layout=layout) for layout in LAYOUTS))
    found = {row.case.layout: row.status for row in rows if row.implementation == OURS}
    assert found == {"nchw": OK, "channels_last": WRONG}


def test_wrong_baseline_is_refused_too(monkeypatch):
    plant(monkeypatch, BASELINE, axes_swapped)
    rows = {row.implementation: row for row in run(SMALL, compile_budget=float("inf"))}
    assert {name for name, row in rows.items() if row.status == WRONG} == {BASELINE, COMPILED}
    assert all(row.timing is None for row in rows.values() if row.status == WRONG)
    assert all(row.is_failure for row in rows.values() if row.status == WRONG)


def test_what_raises_is_a_failure_but_for_the_compiler(monkeypatch):
    def make(_):
        def broken(low, offset, mask, skip):
            raise RuntimeError("planted\nsecond line")

        return broken

    plant(monkeypatch, BASELINE, make)
    rows = {row.implementation: row for row in run(SMALL, compile_budget=float("inf"))}
    assert rows[BASELINE].status == rows[COMPILED].status == FAILED
    assert rows[BASELINE].note == "RuntimeError: planted"
    assert rows[BASELINE].is_failure
    assert not rows[COMPILED].is_failure
    assert rows[OURS].timing is not None


def small_cases():
    for field in ("smooth", "zero", "random"):
        yield replace(SMALL, field=field)
        yield replace(SMALL, op="offset_sample", field=field)
    for dtype in (torch.float16, torch.bfloat16):
        yield replace(SMALL, dtype=dtype)
        yield replace(SMALL, op="offset_sample", dtype=dtype)
    yield replace(SMALL, op="offset_sample", low=(11, 13))
    yield replace(SMALL, op="aggregate_offsets", low=(11, 13), channels=0)


@pytest.mark.parametrize("case", list(small_cases()), ids=lambda case: case.title)
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_the_right_implementations_of_every_op_pass(case, direction):
    layouts = ("nchw",) if case.op == "aggregate_offsets" else LAYOUTS
    rows = run(*(replace(case, direction=direction, layout=layout) for layout in layouts))
    for row in rows:
        if row.implementation != COMPILED:
            assert row.status == OK, (row.implementation, row.note)
            assert row.timing is not None


def test_compiled_chain_passes_in_every_direction():
    for direction in ("forward", "backward", "both"):
        rows = run(replace(SMALL, direction=direction), compile_budget=float("inf"))
        (row,) = (row for row in rows if row.implementation == COMPILED)
        assert row.status == OK, row.note
        assert row.timing is not None
        assert row.compile_seconds > 0


def test_gate_is_tight_for_the_fused_op():
    """It lets rounding through, and nothing ten times as large."""
    drawn = arguments(SMALL, "cpu")
    definition = gate.Definition(SMALL, drawn)
    right = {name: tensor.float() for name, tensor in definition.results.items()}
    assert not definition.judge(right, ours=True).wrong
    for name, tensor in right.items():
        off = {**right, name: tensor * (1 + 2e-5)}
        assert definition.judge(off, ours=True).wrong == [name]
        assert not definition.judge(off, ours=False).wrong
        assert definition.judge({**right, name: tensor * 1.01}, ours=False).wrong == [name]


def test_definition_is_the_same_image_by_image():
    drawn = arguments(SMALL, "cpu")
    whole = {name: tensor.double() for name, tensor in drawn.items()}
    expected = gate.evaluate(OPS["semantic_refine"].definition, whole, True)
    found = gate.Definition(SMALL, drawn).results
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("op", DEPTHWISE)
def test_weights_are_of_all_images(op):
    case = DepthwiseCase(op=op, channels=3, size=(6, 5), batch=2, direction="backward")
    drawn = arguments(case, "cpu")
    definition = gate.Definition(case, drawn)
    ours = gate.evaluate(case.operation.implementations[OURS], drawn, True)
    assert ours.keys() == definition.results.keys()
    assert not definition.judge(ours, ours=True).wrong


def test_near_integers_are_left_out_of_the_offsets_gradient_only():
    case = replace(SMALL, field="zero")
    drawn = arguments(case, "cpu")
    drawn["offset"][0, 0, 5, 6] = 3e-5
    definition = gate.Definition(case, drawn)
    right = {name: tensor.float() for name, tensor in definition.results.items()}

    def judged(name, y, x, ours):
        off = right[name].clone()
        off[0, :, y, x] += 1
        return definition.judge({**right, name: off}, ours).wrong

    # The offset moved its neighbours' points to 3e-6 .. 3e-5 px beside an integer.
    assert judged("grad mask", 5, 6, True) == []
    assert judged("grad offset", 4, 5, True) == []
    assert judged("grad offset", 9, 9, True) == ["grad offset"]  # exactly integral: defined
    assert judged("grad offset", 9, 9, False) == []
    assert judged("grad low", 5, 6, False) == ["grad low"]
    assert judged("output", 5, 6, True) == ["output"]


def test_only_gradients_of_rounded_products_may_be_off_by_more():
    roundings = {
        (op, name, on_cuda): gate._roundings(OPS[op], name, on_cuda)
        for op in OPS
        for name in ("output", "grad key")
        for on_cuda in (False, True)
    }
    attention = roundings.pop(("whitened_attention", "grad key", True))
    assert attention == 5
    assert set(roundings.values()) == {1.5}
