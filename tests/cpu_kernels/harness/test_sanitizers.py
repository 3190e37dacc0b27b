"""The same tests with AddressSanitizer and UndefinedBehaviorSanitizer: a sample of their cases, or
by ``--all-sanitized`` all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cuda_on_cpu.harness.build import CannotBuild
from tests.cuda_on_cpu.harness.sanitized import start
from tests.cuda_on_cpu.harness.session import KIND

from . import build


@pytest.mark.slow
@pytest.mark.skipif(KIND != "plain", reason="it starts the sanitizer's run")
def test_clean(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    try:
        # Built here, where the compiler need not run under a sanitizer.
        for family in build.families():
            build.build(family, "asan")
        every = pytestconfig.getoption("--all-sanitized", False)
        run = start("asan", build.FOLDER, tmp_path, every=every)
    except CannotBuild as error:
        pytest.skip(str(error))
    try:
        run.assert_passes()
    finally:
        run.end()
