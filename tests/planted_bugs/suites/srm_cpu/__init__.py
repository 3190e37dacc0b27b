"""Mistakes in the CPU kernels, which must be noticed by the tests that run them without torch."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cpu_kernels.harness import build
from tests.cuda_on_cpu.harness.build import BuildFailure, environment

from ...engine.mutation import ROOT, Mutation
from ...engine.suite import Equivalent, Stage, Stillborn, Suite
from .chosen import CHOSEN

FAMILY = "srm"
TESTS = ROOT / "tests" / "cpu_kernels"
# Of the sanitizers' tests, which are slow: every case that is not large.
SANITIZED = "not past_the_caches and not far"


def stages(mutation: Mutation) -> Sequence[Stage]:
    """One instruction set after the other, as most mistakes show in each; then the sanitizers."""
    first, *rest = sorted(build.available(), key=("avx2", "portable", "avx512").index)
    return (
        stage(first, "plain", (first,)),
        *(stage(name, "plain", (name,)) for name in rest),
        stage("AddressSanitizer, UndefinedBehaviorSanitizer", "asan", build.SETS, SANITIZED),
    )


@functools.cache
def stage(name: str, kind: str, sets: tuple[str, ...], chosen: str = "") -> Stage:
    arguments = [f"--confcutdir={TESTS}", str(TESTS / FAMILY)]
    arguments += ["-k", chosen] if chosen else []

    def prepare(tree: Path) -> Mapping[str, str]:
        try:
            if kind == "asan" and same_code(tree):
                raise Equivalent
            library = build.build(FAMILY, kind, tree / "csrc", sets, jobs=1)
        except BuildFailure as failure:
            raise Stillborn from failure
        log = Path(tempfile.mkdtemp(dir=tree)) / "report" if tree != ROOT else ROOT / "build/report"
        return {
            **environment(kind, log),
            "SCRN_CUDA_ON_CPU_MODULE": str(library),
            "SCRN_CPU_KERNELS_SETS": ",".join(sets),
        }

    return Stage(name, tuple(arguments), prepare, seconds=600 if kind == "plain" else 1800)


def same_code(tree: Path) -> bool:
    """Whether every object that can run on this machine is the same as without the mistake."""
    if tree == ROOT:
        return False
    sets = build.available()
    planted = build.objects(FAMILY, "plain", tree / "csrc", sets)
    original = build.objects(FAMILY, "plain", build.CSRC, sets)
    return all(
        one.compile().read_bytes() == other.compile().read_bytes()
        for one, other in zip(planted, original, strict=True)
    )


SUITE = Suite(
    name="srm_cpu",
    title="CPU kernels",
    sources=(
        "csrc/common/cpu/*.h",
        "csrc/srm/cpu/*.h",
        "csrc/srm/cpu/launch.cpp",
        "csrc/srm/cpu/tables.cpp",
        "csrc/srm/taps.h",
    ),
    tests=(
        "tests/cuda_on_cpu/harness/*.py",
        f"tests/cuda_on_cpu/{FAMILY}/cases.py",
        f"tests/cuda_on_cpu/{FAMILY}/reference.py",
        f"tests/cuda_on_cpu/{FAMILY}/kernels/params.h",
        "tests/cpu_kernels/*.py",
        "tests/cpu_kernels/harness/*",
        f"tests/cpu_kernels/{FAMILY}/**/*",
    ),
    chosen=CHOSEN,
    drawn=50,
    seed=1,
    stages=stages,
    ci=6,
)
