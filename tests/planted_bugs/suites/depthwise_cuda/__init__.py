"""Mistakes in the CUDA kernels, which must be noticed by the suite that runs them on the CPU."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cuda_on_cpu.harness import build

from ...engine.mutation import ROOT, Mutation
from ...engine.suite import Stage, Stillborn, Suite
from . import chosen_units
from .chosen import CHOSEN

FAMILY = "depthwise"
TESTS = ROOT / "tests" / "cuda_on_cpu"


# The types that the first runs compile: one; every mistake shows in it.
UNITS = ("multi_scale_float32",)
ONE_TYPE = "(float32 or order) and not float64 and not float16"
# Units that are compiled for the types of their sums alone, and the files that are theirs.
OWN_FILES = {"large_kernel": "large_kernel*.cuh", "gelu": "gelu_*.cuh"}
SHARED_FILES = ("tiles.cuh", "convolve.cuh", "normal.cuh")


def units_of(file: str) -> tuple[str, ...]:
    """Those of the other units that a mistake in the file may show in; none: multi-scale's own."""
    path = Path(file)
    own = tuple(unit for unit, pattern in OWN_FILES.items() if path.match(pattern))
    return tuple(OWN_FILES) if path.name in SHARED_FILES else own


def stages(mutation: Mutation) -> Sequence[Stage]:
    """First one type, or the unit, then all; of a barrier that is missing, ThreadSanitizer."""
    units = units_of(mutation.file)
    if units:
        first, barrier = stage(", ".join(units), "plain", units, ""), ""
    else:
        units, barrier = UNITS, f"{ONE_TYPE} and not 131"
        first = stage("plain, float32", "plain", units, ONE_TYPE)
    if mutation.kind == "barrier":
        return first, stage("ThreadSanitizer", "tsan", units, barrier)
    return first, stage("plain, everything", "plain", (), "")


@functools.cache
def stage(name: str, kind: str, units: tuple[str, ...], chosen: str) -> Stage:
    tested = units or (*UNITS, *OWN_FILES)
    files = [f"test_{unit.removesuffix('_float32')}.py" for unit in tested]
    tests = [
        str(TESTS / FAMILY / test) for test in (*files, *(() if units else ("test_coverage.py",)))
    ]
    arguments = [f"--confcutdir={TESTS}", *tests, *(["-k", chosen] if chosen else [])]

    def prepare(tree: Path) -> Mapping[str, str]:
        try:
            module = build.build(FAMILY, kind, tree / "csrc", jobs=1, units=units)
        except build.BuildFailure as failure:
            raise Stillborn from failure
        log = Path(tempfile.mkdtemp(dir=tree)) / "report" if tree != ROOT else ROOT / "build/report"
        return {**build.environment(kind, log), "SCRN_CUDA_ON_CPU_MODULE": str(module)}

    return Stage(name, tuple(arguments), prepare, seconds=300 if kind == "plain" else 900)


SUITE = Suite(
    name="depthwise_cuda",
    title="CUDA kernels of the depthwise units",
    sources=("csrc/depthwise/cuda/*.cuh",),
    tests=(
        "tests/cuda_on_cpu/conftest.py",
        "tests/cuda_on_cpu/harness/**/*",
        f"tests/cuda_on_cpu/{FAMILY}/**/*",
    ),
    chosen=(*CHOSEN, *chosen_units.CHOSEN),
    drawn=20,
    seed=1,
    stages=stages,
    ci=2,
)
