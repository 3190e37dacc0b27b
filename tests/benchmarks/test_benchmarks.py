"""The registry is sound, the figures are formed as they are said to be."""

import itertools
import json
import math
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks.common import checkout, environment, timing
from benchmarks.common.yardstick import COPY, FLOOR
from benchmarks.ops import bars, cases
from benchmarks.ops.case import (
    BASELINE,
    COMPILED,
    OURS,
    arguments,
    inputs_of,
    leaves_of,
    prepare,
)
from benchmarks.ops.cases import classify, srm
from benchmarks.ops.cases.srm import LAYOUTS, SampledCase
from benchmarks.ops.cost import cost
from benchmarks.ops.gate import Definition
from benchmarks.ops.report import page
from benchmarks.ops.results import LEFT_OUT, OK, WRONG, Document, Results, Row
from benchmarks.ops.run import PAST_BUDGET, floor

EVERY_CASE = list({case: None for device in ("cpu", "cuda") for case in cases.full(device)})


def test_cases_are_named_once():
    for chosen in (list(cases.full("cpu")), list(cases.full("cuda")), list(cases.quick())):
        names = [case.name for case in chosen]
        assert len(set(names)) == len(names)
    assert set(cases.quick()) <= set(cases.full("cpu"))


def test_every_module_of_cases_is_a_family():
    """A family that is put there is measured, and its ops are no other's."""
    modules = {path.stem for path in Path(cases.__file__).parent.glob("*.py")} - {"__init__"}
    assert {"attention", "srm"} <= modules
    assert list(cases.FAMILIES) == sorted(modules)
    ops = [op for family in cases.FAMILIES.values() for op in family.ops]
    assert len(set(ops)) == len(ops)


def test_every_op_occurs_with_everything_asked_for():
    by_op = {op: [case for case in EVERY_CASE if case.op == op] for op in cases.operations()}
    assert sum(map(len, by_op.values())) == len(EVERY_CASE)
    assert all(by_op.values())
    refine = by_op["semantic_refine"]
    assert {case.layout for case in refine} == set(LAYOUTS)
    assert {case.direction for case in refine} == {"forward", "backward", "both"}
    assert {case.dtype for case in refine} == {torch.float32, torch.bfloat16, torch.float16}
    assert {case.field for case in refine} == {"smooth", "zero", "random"}
    sizes = {(case.low, case.size) for case in refine}
    assert {((23, 40), (45, 80)), ((45, 80), (90, 160)), ((90, 160), (180, 320))} <= sizes
    assert {((128, 256), (256, 512)), ((64, 64), (128, 128)), ((16, 16), (32, 32))} <= sizes
    both = [case for case in cases.full("cuda") if case.direction == "both"]
    assert {case.batch for case in both if isinstance(case, SampledCase)} == {16, 32}


SMALL = [
    case
    for case in EVERY_CASE
    if isinstance(case, SampledCase) and case.batch * math.prod(case.size) < 40_000
]


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_arguments_have_the_shapes_types_and_layout_of_the_case(case):
    drawn = arguments(case, "cpu")
    format = torch.channels_last if case.layout == "channels_last" else torch.contiguous_format
    features = [drawn[name] for name in ("low", "input", "skip") if name in drawn]
    for tensor in (*features, *([drawn["grad"]] if features else [])):
        assert tensor.is_contiguous(memory_format=format)
        assert tensor.dtype == case.dtype
    if features:
        assert features[0].shape == (case.batch, case.channels, *case.low)
    assert drawn["offset"].shape == (case.batch, 2, *case.size)
    assert drawn["offset"].dtype == torch.float32
    out = floor(drawn)()
    assert out.shape == (case.batch, case.channels or 2, *case.size)
    assert out.stride() == drawn["grad"].stride()


def test_labels_are_classes_and_have_no_gradient():
    case = classify.loss(5, 8, 32)
    for field in classify.FIELDS:
        drawn = arguments(replace(case, field=field), "cpu")
        labels = drawn["target"].unique().tolist()
        assert labels[-1] == classify.IGNORED
        assert set(labels[:-1]) <= set(range(5))
    inputs = inputs_of(drawn, True)
    assert list(leaves_of(inputs)) == ["logits"]
    (gradient,) = prepare(case.operation.implementations[OURS], drawn, "both")()
    assert gradient.shape == drawn["logits"].shape
    # What is read twice is counted twice, and of the target no gradient is written.
    logits, target = drawn["logits"].nbytes, drawn["target"].nbytes
    assert cost(case).bytes == 2 * (logits + target + 4) + logits
    assert cost(replace(case, direction="forward")).bytes == logits + target + 4


@pytest.mark.parametrize("field", classify.FIELDS)
def test_the_gate_knows_a_wrong_label_from_a_tie(field):
    case = classify.argmax(5, (8, 9), batch=2, field=field)
    drawn = arguments(case, "cpu")
    definition = Definition(case, drawn)
    right = definition.op.definition(drawn["logits"].double(), drawn["like"])
    assert not definition.judge({"output": right}, ours=True).wrong
    wrong = right.clone()
    wrong[1, 3, 4] = (wrong[1, 3, 4] + 1) % 5
    assert definition.judge({"output": wrong}, ours=True).wrong == ["output"]
    # Two classes that are the same everywhere: either is right.
    tied = drawn | {"logits": drawn["logits"][:, [0, 1, 2, 3, 0]].contiguous()}
    definition = Definition(case, tied)
    right = definition.op.definition(tied["logits"].double(), tied["like"])
    assert (right == 0).any()
    other = torch.where(right == 0, 4, right)
    assert not definition.judge({"output": other}, ours=True).wrong


def test_numbers_do_not_depend_on_the_layout():
    case = next(srm.quick())
    first = arguments(case, "cpu")
    second = arguments(replace(case, layout="channels_last", direction="backward"), "cpu")
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])


def test_fields_are_as_described():
    case = next(srm.quick())
    lengths = {
        field: arguments(replace(case, field=field), "cpu")["offset"].norm(dim=1)
        for field in ("smooth", "zero", "random")
    }
    assert lengths["zero"].max() == 0
    assert lengths["smooth"].square().mean().sqrt() == pytest.approx(1.5, rel=1e-4)
    offset = arguments(case, "cpu")["offset"]
    assert (offset[..., 1:] - offset[..., :-1]).abs().max() < 1
    assert lengths["random"].square().mean().sqrt() == pytest.approx(2 * 2**0.5, rel=0.05)


def quick_refine():
    return [case for case in cases.quick() if case.op == "semantic_refine"]


def measured(seconds, threads=2, statuses=()):
    """Rows of the quick cases: ``seconds`` maps (implementation, layout, direction) to times."""
    rows = []
    for case in quick_refine():
        for implementation in (OURS, BASELINE, COMPILED, FLOOR, COPY):
            key = (implementation, case.layout, case.direction)
            status = dict(statuses).get(key, OK)
            row = Row(case, threads, implementation, status, "planted" if status == WRONG else "")
            if status == OK and key in seconds:
                best = seconds[key]
                row.timing = timing.Timing(best, 1.5 * best, best, 10)
            elif implementation == COMPILED:
                row.status, row.note = LEFT_OUT, PAST_BUDGET
            rows.append(row)
    return Results(rows)


TIMES = {
    (OURS, "nchw", "forward"): 1.0,
    (OURS, "channels_last", "forward"): 0.5,
    (BASELINE, "nchw", "forward"): 10.0,
    (BASELINE, "channels_last", "forward"): 5.0,
    (FLOOR, "nchw", "forward"): 0.4,
    (COPY, "nchw", "forward"): 0.5,
    (FLOOR, "channels_last", "forward"): 0.4,
    (OURS, "nchw", "backward"): 2.0,
    (OURS, "channels_last", "backward"): 2.0,
    (BASELINE, "nchw", "backward"): 40.0,
    (BASELINE, "channels_last", "backward"): 19.0,
    (FLOOR, "nchw", "backward"): 0.5,
    (FLOOR, "channels_last", "backward"): 0.5,
}


def test_bars_by_hand():
    verdicts = {
        (each["direction"], each["layout"], len(each["over_layouts"])): each
        for each in bars.judge(measured(TIMES))
        if each["low"] == (64, 128)
    }
    expected = {
        ("forward", "nchw", 1): (10.0, "met", 2.5),
        ("forward", "channels_last", 1): (10.0, "MISSED", 1.25),
        ("forward", "nchw", 2): (5.0, "MISSED", 2.5),  # over channels_last, the faster one
        ("forward", "channels_last", 2): (10.0, "met", 1.25),
        ("backward", "nchw", 1): (20.0, "met, stretch too", 4.0),
        ("backward", "channels_last", 1): (9.5, "MISSED", 4.0),
    }
    assert verdicts.keys() == expected.keys()
    for key, (speedup, verdict, additions) in expected.items():
        assert verdicts[key]["speedup"] == pytest.approx(speedup)
        assert verdicts[key]["verdict"] == verdict
        assert verdicts[key]["additions"] == pytest.approx(additions)
        copies = 2.0 if key[:2] == ("forward", "nchw") else None
        assert verdicts[key]["copies"] == copies


@pytest.mark.parametrize(("speedup", "text"), [(8.99, "x8.9"), (9.0, "x9.0"), (None, "")])
def test_a_bar_that_was_missed_by_a_hair_reads_as_missed(speedup, text):
    assert bars.speedup_text(speedup) == text


def test_bars_are_those_asked_for():
    asked = {
        (bar.case.direction, bar.case.layout, len(bar.layouts)): (
            bar.required,
            bar.moonshot,
            bar.aim,
        )
        for bar in srm.FAMILY.bars
    }
    assert asked == {
        ("forward", "nchw", 1): (9, 16, 2),
        ("forward", "channels_last", 1): (14, 22, 2),
        ("forward", "nchw", 2): (6, None, None),
        ("forward", "channels_last", 2): (6, None, None),
        ("backward", "nchw", 1): (10, 20, 5),
        ("backward", "channels_last", 1): (10, 20, 5),
    }
    assert len(bars.judge(measured(TIMES))) == 12
    assert bars.judge(measured(TIMES, threads=1)) == []


def test_refused_row_meets_no_bar():
    refused = (((OURS, "nchw", "forward"), WRONG),)
    for each in bars.judge(measured(TIMES, statuses=refused)):
        ours = (each["direction"], each["layout"]) == ("forward", "nchw")
        assert (each["speedup"] is None) == ours
        assert (each["verdict"] == "not measured") == ours


def printed(results):
    return "\n".join(page.measured(results))


def document_of(results):
    facts = environment.describe("cpu")
    return Document(facts, results, bars.judge(results))


def test_bars_are_given_in_units_of_the_yardsticks(tmp_path, compact):
    document = document_of(measured(TIMES))
    lines = compact("\n".join(page.bars(document.bars))).splitlines()
    shown = [line for line in lines if "forward nchw |" in line]
    assert [line.split(" | ")[1:] for line in shown] == [
        ["the same layout", "x9", "x16", "x10.0", "met", "2.5 (2)", "2.0 |"],
        ["the same layout", "x9", "x16", "x10.0", "met", "2.5 (2)", "2.0 |"],
        ["its faster layout", "x6", "", "x5.0", "MISSED", "2.5", "2.0 |"],
        ["its faster layout", "x6", "", "x5.0", "MISSED", "2.5", "2.0 |"],
    ]
    document.write(tmp_path / "new.json")
    report = page.report(Document.load(tmp_path / "new.json"), [], [], None)
    assert "| met | 2.5 (2) | 2.0 |" in compact(report)


def test_losing_shapes_come_first():
    slow = {**TIMES, (BASELINE, "nchw", "backward"): 1.0}
    lines = printed(measured(slow)).splitlines()
    first = next(n for n, line in enumerate(lines) if "slower than something else" in line)
    second = next(n for n, line in enumerate(lines) if "faster than everything else" in line)
    assert first < second
    losing, leading = lines[first:second], lines[second:]
    assert any("semantic_refine" in line for line in losing)
    assert all("backward" in line for line in losing if "semantic_refine" in line)
    assert all("forward" in line for line in leading if "semantic_refine" in line)
    assert f"None: {OURS} is the fastest in each of 4 cases." in printed(measured(TIMES))


def test_slower_than_the_compiled_chain_is_losing():
    compiled = {**TIMES, (COMPILED, "channels_last", "forward"): 0.4}
    results = measured(compiled)
    case = replace(next(srm.quick()), direction="forward")
    assert results.lead(case, 2) == pytest.approx(0.8)
    assert results.groups()[0][0].direction == "forward"


def test_table_shows_times_leads_and_the_floor(compact):
    text = compact(printed(measured(TIMES)))
    name = "semantic_refine B=1 C=128 64x128 -> 128x256 float32 smooth forward nchw"
    (line,) = (each for each in text.splitlines() if each.startswith(f"| {name} | 2 | {BASELINE}"))
    times = "10000.000 | 15000.000 | 10.00 | 25.0"
    assert line.startswith(f"| {name} | 2 | {BASELINE} | {times} |")
    assert COMPILED not in text


def test_json_holds_everything_and_gives_it_back(tmp_path):
    results = measured(TIMES)
    results.rows[0].peak_bytes = 17
    path = tmp_path / "new" / "results.json"
    document = document_of(results)
    facts = document.environment
    document.write(path)
    read = json.loads(path.read_text())
    assert read["environment"]["torch"] == torch.__version__
    assert read["environment"]["instruction_set"] in ("avx512", "avx2", "portable")
    assert {"commit", "cpu", "cores", "device", "scrn_ops", "python"} <= set(facts)
    assert len(read["rows"]) == len(results.rows)
    assert len(read["bars"]) == 12
    assert (read["bars"][0]["additions"], read["bars"][0]["copies"]) == (2.5, 2.0)
    row = read["rows"][0]
    assert row["seconds"] == 1.0
    assert row["seconds_median"] == 1.5
    assert row["gb_per_second"] == pytest.approx(row["least_bytes"] / 1e9)
    assert row["tflop_per_second"] == pytest.approx(row["flops"] / 1e12)
    assert (row["op"], row["low"], row["size"]) == ("semantic_refine", [64, 128], [128, 256])
    again = Document.load(path)
    assert again.results.rows == results.rows
    assert again.environment == facts
    (tmp_path / "old.json").write_text('{"schema": 1}')
    with pytest.raises(ValueError, match=r"old\.json: expected schema 2, got 1"):
        Document.load(tmp_path / "old.json")


def test_floor_is_the_slower_of_copy_and_products():
    case = quick_refine()[0]
    rows = [
        Row(case, 2, name, timing=timing.Timing(seconds, seconds, seconds, 1))
        for name, seconds in ((OURS, 4.0), (COPY, 1.0))
    ]
    flops = 82_051_072
    assert Results(rows, {(torch.float32, 2): flops / 0.5}).floor_seconds(case, 2) == 1.0
    assert Results(rows, {(torch.float32, 2): flops / 3.0}).floor_seconds(case, 2) == 3.0
    assert Results(rows, {(torch.float32, 1): flops}).floor_seconds(case, 2) is None


def test_list_and_filter(capsys):
    assert command.main(["--list", "--filter", "offset_sample", "backward", "nchw"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert len(names) == 4
    assert all("offset_sample" in name and "backward" in name for name in names)
    assert command.main(["--filter", "no such case"]) == 2
    assert "no such case" in capsys.readouterr().err


def test_timings_take_turns_and_count():
    calls = []
    found = timing.time_all(
        {name: (lambda name=name: calls.append(name)) for name in ("a", "b")}, "cpu", 1, 0.002
    )
    assert set(found) == {"a", "b"}
    assert all(0 < each.minimum <= each.median for each in found.values())
    assert all(each.best == each.minimum for each in found.values())
    changes = sum(one != two for one, two in itertools.pairwise(calls))
    assert changes == 2 * timing.ROUNDS - 1


@pytest.mark.skipif(sys.platform != "linux", reason="steers glibc's malloc")
def test_freed_memory_is_kept():
    """Otherwise every page of a large result is a fault again, in every call. In a process of its
    own: where another one's heap cannot grow in place, glibc maps every large block anew."""
    script = """
import resource, torch
from scrn_ops._core.allocator import keep_freed_memory

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.empty(64 << 20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
faults(10)
print(faults(10))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=checkout.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < (64 << 20) / resource.getpagesize()
