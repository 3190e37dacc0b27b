"""The same tests with AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cuda_on_cpu.harness.build import CannotBuild
from tests.cuda_on_cpu.harness.sanitized import start
from tests.cuda_on_cpu.harness.session import KIND

from . import build


@pytest.mark.slow
@pytest.mark.skipif(KIND != "plain", reason="it starts the sanitizer's run")
def test_clean(tmp_path: Path) -> None:
    try:
        # Built here, where the compiler need not run under a sanitizer.
        for family in build.families():
            build.build(family, "asan")
        run = start("asan", build.FOLDER, tmp_path)
    except CannotBuild as error:
        pytest.skip(str(error))
    try:
        run.assert_passes()
    finally:
        run.end()
