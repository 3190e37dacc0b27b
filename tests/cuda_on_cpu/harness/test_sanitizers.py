"""The same tests with AddressSanitizer + UndefinedBehaviorSanitizer, and with ThreadSanitizer.

Each runs in a Python of its own, since a sanitizer has to be there from the start; the two go on
side by side.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import build
from .session import KIND

TIMEOUT = 900

pytestmark = pytest.mark.skipif(KIND != "plain", reason="it starts the sanitizers' runs")


def start(kind: str, folder: Path) -> Run:
    log = folder / f"{kind}.report"
    environment = {**os.environ, **build.environment(kind, log)}
    # The tests' common conftest.py imports torch, which the sanitizers do not take to.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
    command += [f"--confcutdir={build.FOLDER}", "--durations=5", str(build.FOLDER)]
    output = folder / f"{kind}.output"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=build.ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT
        )
    return Run(process, output)


@dataclass
class Run:
    process: subprocess.Popen[bytes]
    output: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    folder = tmp_path_factory.mktemp("sanitizers")
    try:
        # Built here, where the compiler need not run under a sanitizer.
        for kind in ("tsan", "asan"):
            for name in ("harness", *build.families()):
                build.build(name, kind)
        started = {kind: start(kind, folder) for kind in ("asan", "tsan")}
    except build.CannotBuild as error:
        pytest.skip(str(error))
    yield started
    for run in started.values():
        run.process.kill()
        run.process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["asan", "tsan"])
def test_clean(runs: dict[str, Run], kind: str) -> None:
    run = runs[kind]
    status = run.process.wait(timeout=TIMEOUT)
    output = run.output.read_text(errors="replace")
    assert status == 0, output[-20000:]
    assert " passed" in output
