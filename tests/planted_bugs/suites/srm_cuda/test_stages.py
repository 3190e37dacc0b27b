"""What the stages of the suite need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cuda_on_cpu.harness import work
from tests.planted_bugs.engine.mutation import ROOT
from tests.planted_bugs.engine.suite import CannotDecide
from tests.planted_bugs.suites import srm_cuda


def test_the_places_are_files() -> None:
    """A mistake in a file that was renamed would run the tests of another."""
    assert [file for file in srm_cuda.PLACES if not (ROOT / "csrc" / file).is_file()] == []


def test_work_on_record_of_another_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests that compare with it would skip, as if they had noticed nothing."""
    monkeypatch.setattr(work, "compiler", lambda: "g++ 99")
    (stage,) = (each for each in srm_cuda.stages(srm_cuda.CHOSEN[0]) if each.name == "work")
    with pytest.raises(CannotDecide, match=r"this is g\+\+ 99: .*harness\.work srm"):
        stage.prepare(tmp_path)
