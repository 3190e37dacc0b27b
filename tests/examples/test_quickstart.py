"""The notebook runs from its first cell to its last in a kernel of its own."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples/quickstart.ipynb"
nbformat: Any = pytest.importorskip("nbformat", reason="the notebook needs nbclient and ipykernel")


def test_no_outputs_are_stored() -> None:
    cells = nbformat.read(NOTEBOOK, 4).cells
    assert not any(cell.get("outputs") for cell in cells)
    assert NOTEBOOK.stat().st_size < 100_000


@pytest.mark.slow
def test_it_runs_and_shows_what_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    root = str(NOTEBOOK.parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((root, os.environ.get("PYTHONPATH", ""))))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, 4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": root}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [
        Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
        for cell in code
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    # The rocket, a drawn image, and the network's own view of one, each with its legend but one.
    assert [picture.width for picture in shown] == [640, 128, 240]
    (said,) = (output.text for output in code[-1].outputs)
    share = re.match(r"(\d+)% of the pixels are right", said)
    assert share is not None
    # All ground would be right for about two thirds.
    assert int(share[1]) >= 85
