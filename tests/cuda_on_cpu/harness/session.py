"""What one run of pytest tests: which build, of which modules, with whose reports.

SCRN_CUDA_ON_CPU_KIND chooses the build; asan and tsan need the sanitizer preloaded and its reports
sent to a log (build.environment does both). SCRN_CUDA_ON_CPU_MODULE names a module of the one
family under test that is built already, as the planted bugs are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from . import build
from .device import Device

KIND = os.environ.get("SCRN_CUDA_ON_CPU_KIND", "plain")
LOG = os.environ.get("SCRN_CUDA_ON_CPU_LOG", "")
MODULE = os.environ.get("SCRN_CUDA_ON_CPU_MODULE", "")


def load_device(name: str, kind: str, units: Sequence[str] = ()) -> Device:
    """A family's kernels, or those of `harness`; skips the test where they cannot be built."""
    try:
        return _load(name, kind, tuple(units))
    except build.CannotBuild as error:
        pytest.skip(str(error))


@cache
def _load(name: str, kind: str, units: tuple[str, ...]) -> Device:
    if MODULE and kind == KIND and name in build.families():
        return Device(build.load(Path(MODULE)))
    return Device(build.load(build.build(name, kind, units=units)))


class Reports:
    """What the sanitizers have written since the last look: AddressSanitizer and ThreadSanitizer
    into their log, UndefinedBehaviorSanitizer to stderr."""

    seen = 0

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.capture = capture

    def take(self) -> str:
        text = self.capture.readouterr().err
        report = text if "runtime error:" in text else ""
        path = Path(f"{LOG}.{os.getpid()}")
        if LOG and path.is_file():
            whole = path.read_text(errors="replace")
            report += whole[Reports.seen :]
            Reports.seen = len(whole)
        return report
