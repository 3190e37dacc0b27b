"""A run of tests in a Python of its own, since a sanitizer has to be there from the start."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import build

TIMEOUT = 900  # seconds, of a sample
# Under a sanitizer a test takes up to sixteen times as long; the plain build runs every case.
ONE_IN = 8


@dataclass
class Run:
    process: subprocess.Popen[bytes]
    output: Path
    timeout: float

    def assert_passes(self) -> None:
        status = self.process.wait(timeout=self.timeout)
        text = self.output.read_text(errors="replace")
        assert status == 0, text[-20000:]
        assert " passed" in text

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def start(kind: str, tests: Path, folder: Path, *, every: bool) -> Run:
    """The tests in `tests` in that build, of their cases `every` one or one in ONE_IN; reports and
    output go to `folder`."""
    environment = {**os.environ, **build.environment(kind, folder / f"{kind}.report")}
    environment["SCRN_CUDA_ON_CPU_ONE_IN"] = str(1 if every else ONE_IN)
    # The tests' common conftest.py imports torch, which the sanitizers do not take to.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
    command += [f"--confcutdir={tests}", "--durations=5", str(tests)]
    output = folder / f"{kind}.output"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=build.ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT
        )
    return Run(process, output, ONE_IN * TIMEOUT if every else TIMEOUT)
