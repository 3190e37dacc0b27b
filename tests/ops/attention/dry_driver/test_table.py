"""The printed tables, and the table of tiles: every row of it is compiled and fits."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("triton")
from benchmarks import attention_report as command
from benchmarks.compiled.attention import report, tiles
from benchmarks.compiled.attention.calls import DTYPES, SHAPES, Case
from benchmarks.compiled.attention.code import TENSOR_CORES, Code
from scrn_ops.attention import kernels, table


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_tables(capsys):
    arguments = ["--n", "256", "--layout", "contiguous", "--kernels"]
    assert command.main(arguments) == 0
    version, _, head, _, forward, backward, _, kernel_head, _, *kernels = (
        capsys.readouterr().out.splitlines()
    )
    assert "triton" in version
    assert cells(head) == list(report.CALL_COLUMNS)
    assert cells(kernel_head) == list(report.KERNEL_COLUMNS)
    for line, direction in ((forward, "forward"), (backward, "backward")):
        row = dict(zip(cells(head), cells(line), strict=True))
        assert row["call"] == f"sm_90-1x256x256x256-{direction}-bf16"
        assert row["tensor cores"] == "yes"
        assert float(row["us a call"]) > float(row["us a launch"]) > 0
        of_the_call = [
            dict(zip(cells(kernel_head), cells(kernel), strict=True))
            for kernel in kernels
            if cells(kernel)[0] == row["call"]
        ]
        assert len(of_the_call) == int(row["kernels"])
        assert sum(int(kernel["launches"]) for kernel in of_the_call) == int(row["launches"])
        assert max(int(kernel["registers"]) for kernel in of_the_call) == int(row["registers"])


def jitted() -> set[str]:
    """The kernels of the sources: functions of Triton that no other one calls."""
    sources = [path.read_text() for path in Path(kernels.__file__).parent.glob("*.py")]
    text = "\n".join(sources)
    names = re.findall(r"^@triton\.jit(?:\(.*\))?\ndef (\w+)", text, re.MULTILINE)
    return {name for name in names if not re.search(rf"(?<!def )(?<!\.)\b{name}\(", text)}


def one_of_a_row(wanted: list[Case]) -> list[Case]:
    """Of calls that differ in the embeddings' width alone the widest: those in bf16 for an H100 are
    all compiled."""
    wanted = sorted(wanted, key=lambda each: each.shape)
    rows = {(*each.shape[:2], each.shape[3], each.direction): each for each in wanted}
    return list(rows.values())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", table.FAMILIES)
def test_every_row_is_compiled_and_fits(family, dtype, pytestconfig):
    every = pytestconfig.getoption("--all-dry-runs")
    if dtype == "fp16" and family != 90 and not every:
        pytest.skip("the tiles of bf16; --all-dry-runs compiles them for fp16 too")
    wanted = list(tiles.cases([family], [dtype], ["contiguous"]))
    if (family, dtype) != (90, "bf16") and not every:
        wanted = one_of_a_row(wanted)
    found = list(report.distinct(wanted))
    assert {row.kernel for row in found} == jitted()
    taken = {(row.kernel, row.tiles) for row in found}
    for kernel in table.KERNELS:
        for row in table.rows(kernel, family):
            assert (table.FUNCTIONS.get(kernel, kernel), row.tiles) in taken, row
    bad = [f"{row.kernel} {row.tiles}: {row.complaint}" for row in found if row.complaint]
    assert not bad, "\n".join(bad)


def row_of(family: int, **changed: object) -> report.KernelRow:
    """Of a kernel that was never compiled."""
    code = Code(64, 0, 0, Counter(), Counter(), dots=2, products={})._replace(**changed)
    return report.KernelRow(Case(family, SHAPES[0], "forward"), None, 1, 1, code)


def test_what_does_not_fit_is_said():
    assert row_of(90, shared=227 << 10).complaint == ""
    assert row_of(90, shared=1, stack=8).complaint == "8 bytes of local memory"
    assert row_of(90, shared=228 << 10).complaint == "shared memory beyond 232448"
    assert row_of(120, shared=100 << 10).complaint == "shared memory beyond 101376"


@pytest.mark.parametrize("arguments", [["--table"], ["--n", "256"]], ids=" ".join)
def test_the_exit_status_tells_whether_all_fits(arguments, monkeypatch):
    case = Case(90, (1, 256, 256, 256), "forward")
    for cases in ("benchmarks.compiled.attention.tiles", "benchmarks.attention_report"):
        monkeypatch.setattr(f"{cases}.cases", lambda *wanted: [case])
    assert command.main(arguments) == 0
    monkeypatch.setitem(table.SHARED_BYTES, 90, 1)
    assert command.main(arguments) == 1


@pytest.mark.parametrize(
    ("family", "products", "good"),
    [
        (90, {"wgmma.mma_async": 2}, True),
        (90, {"wgmma.mma_async": 1}, False),
        (90, {}, False),
        (90, {"mma.sync": 4}, False),
        (90, {"wgmma.mma_async": 2, "mma.sync": 1}, False),
        (80, {"mma.sync": 2}, True),
        (120, {"mma.sync": 2}, True),
        (100, {"tcgen05.mma": 2}, True),
        (100, {"mma.sync": 2}, False),
    ],
)
def test_products_that_tensor_cores_do_not_make_are_said(family, products, good):
    counts = {name: products.get(name, 0) for name in TENSOR_CORES.values()}
    assert row_of(family, products=counts).on_tensor_cores == good
