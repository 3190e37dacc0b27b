"""The kernels compile for every architecture, without local memory, within shared memory."""

from __future__ import annotations

import re

import pytest

triton = pytest.importorskip("triton")
from benchmarks import attention_report  # noqa: E402


def launched() -> set[str]:
    """Every kernel of the sources; what the kernels themselves call lies in dot.py."""
    found = set()
    for path in (attention_report.PACKAGE / "kernels").glob("*.py"):
        names = re.findall(r"^@triton\.jit\ndef (\w+)", path.read_text(), re.MULTILINE)
        found |= {f"{path.stem}.{name}" for name in names if path.stem != "dot"}
    return found


@pytest.mark.slow
def test_every_row_of_the_table_fits():
    rows = list(attention_report.report(list(attention_report.SHARED), ["contiguous"], jobs=2))
    assert {variant.family for variant, _ in rows} == {80, 90, 100, 120}
    assert {variant.kernel for variant, _ in rows} == launched()
    bad = [f"{v}: {attention_report.complaint(v, usage)}" for v, usage in rows
           if attention_report.complaint(v, usage)]  # fmt: skip
    assert not bad, "\n".join(bad)


def test_what_does_not_fit_is_said():
    variant = next(iter(attention_report.variants(90, "contiguous")))
    usage = attention_report.Usage(registers=255, stack=8, shared=1)
    assert "8 bytes of local memory" in attention_report.complaint(variant, usage)
    usage = attention_report.Usage(registers=64, stack=0, shared=228 << 10)
    assert "beyond 232448" in attention_report.complaint(variant, usage)
