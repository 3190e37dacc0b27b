"""What one run of pytest tests: which build, of which modules, with whose reports.

SCRN_CUDA_ON_CPU_KIND chooses the build; asan and tsan need the sanitizer preloaded and its reports
sent to a log (build.environment does both). SCRN_CUDA_ON_CPU_MODULE names a module of the one
family under test that is built already, as the planted bugs are. SCRN_CUDA_ON_CPU_ONE_IN leaves
one in so many cases of every test, always the same ones.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from . import build
from .device import Device

KIND = os.environ.get("SCRN_CUDA_ON_CPU_KIND", "plain")
LOG = os.environ.get("SCRN_CUDA_ON_CPU_LOG", "")
MODULE = os.environ.get("SCRN_CUDA_ON_CPU_MODULE", "")
ONE_IN = int(os.environ.get("SCRN_CUDA_ON_CPU_ONE_IN", "1"))
FEW = 2


def draw(config: pytest.Config, items: list[pytest.Item], folder: Path) -> None:
    """Leaves one in ONE_IN of the folder's cases of a test, for each instruction set: those that
    their names choose, so that a new case changes no other's lot. A test of few cases stays whole,
    as do those of the harness, without which no result says anything."""
    if ONE_IN == 1:
        return
    cases: dict[tuple[str, object], list[pytest.Item]] = {}
    for item in items:
        if folder in item.path.parents and folder / "harness" not in item.path.parents:
            device = item.callspec.params.get("device") if hasattr(item, "callspec") else None
            cases.setdefault((item.nodeid.partition("[")[0], device), []).append(item)
    dropped = set()
    for alike in cases.values():
        if len(alike) > FEW:
            alike.sort(key=lambda item: zlib.crc32(item.nodeid.encode()))
            dropped.update(alike[max(FEW, -(-len(alike) // ONE_IN)) :])
    config.hook.pytest_deselected(items=[item for item in items if item in dropped])
    items[:] = [item for item in items if item not in dropped]


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
