"""The same tests with AddressSanitizer + UndefinedBehaviorSanitizer, and with ThreadSanitizer.

The two go on side by side, with a sample of the cases; ``--all-sanitized`` runs them all.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import build
from .sanitized import Run, start
from .session import KIND

pytestmark = pytest.mark.skipif(KIND != "plain", reason="it starts the sanitizers' runs")


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[dict[str, Run]]:
    every = pytestconfig.getoption("--all-sanitized", False)
    folder = tmp_path_factory.mktemp("sanitizers")
    try:
        # Built here, where the compiler need not run under a sanitizer.
        for kind in ("tsan", "asan"):
            for name in ("harness", *build.families()):
                build.build(name, kind)
        started = {
            kind: start(kind, build.FOLDER, folder, every=every) for kind in ("asan", "tsan")
        }
    except build.CannotBuild as error:
        pytest.skip(str(error))
    yield started
    for run in started.values():
        run.end()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["asan", "tsan"])
def test_clean(runs: dict[str, Run], kind: str) -> None:
    runs[kind].assert_passes()
