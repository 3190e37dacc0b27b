"""The code of docs/your_model.md, section by section."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs/your_model.md").read_text()
SLOW = {"torch.compile", "AOTInductor", "ONNX"}


def sections() -> dict[str, str]:
    """The code below each heading."""
    parts = re.split(r"^#+ (.*)$", PAGE, flags=re.MULTILINE)[1:]
    code = {
        title: "\n".join(re.findall(r"```python\n(.*?)```", body, re.DOTALL))
        for title, body in zip(parts[::2], parts[1::2], strict=True)
    }
    return {title: text for title, text in code.items() if text}


SECTIONS = sections()
FIRST, *REST = SECTIONS


def run(titles: list[str]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for title in titles:
        exec(compile(SECTIONS[title], f"{title} of docs/your_model.md", "exec"), names)
    return names


@pytest.mark.parametrize(
    "title", [pytest.param(t, marks=pytest.mark.slow) if t in SLOW else t for t in REST]
)
def test_a_section_runs(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # The compiler's files are this test's own.
    monkeypatch.setitem(os.environ, "TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    if title == "ONNX":
        pytest.importorskip("onnxscript")
    before = ["torch.export"] if title == "AOTInductor" else []
    names = run([FIRST, *before, title])
    if title == "ONNX":
        session = pytest.importorskip("onnxruntime").InferenceSession("decoder.onnx")
        given = {
            i.name: x.numpy() for i, x in zip(session.get_inputs(), names["inputs"], strict=True)
        }
        np.testing.assert_allclose(session.run(None, given)[0], names["expected"], atol=1e-4)
    if title == "What is refused":
        script, trace = capsys.readouterr().out.splitlines()
        assert script.startswith("torch.jit.script: TorchScript does not know the Python of Sem")
        assert trace.startswith("low: torch.fx.symbolic_trace knows no sizes")


def test_every_row_of_the_table_has_its_section() -> None:
    assert {"Half types on the CPU", "torch.jit.trace", "torch.export", *SLOW} <= set(REST)
