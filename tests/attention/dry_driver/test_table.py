"""The printed tables."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("triton")
from . import __main__ as command
from . import report
from .calls import SHAPES, Case
from .code import TENSOR_CORES, Code


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
    code = Code(64, 0, 0, Counter(), Counter(), dots=2, products=counts)
    row = report.KernelRow(Case(family, SHAPES[0], "forward"), "flash", 1, 1, 8, code)
    assert row.on_tensor_cores == good
