"""How a mistake in a family's CPU kernels is tried: on every instruction set, then sanitized."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cpu_kernels.harness import build
from tests.cuda_on_cpu.harness.build import BuildFailure, environment

from ..engine.mutation import ROOT, Mutation
from ..engine.suite import Equivalent, Stage, Stillborn

TESTS = ROOT / "tests" / "cpu_kernels"


def stages_of(family: str, sanitized: str) -> Callable[[Mutation], Sequence[Stage]]:
    """``sanitized`` chooses the tests that run with the sanitizers, which are slow."""

    def stages(_mutation: Mutation) -> Sequence[Stage]:
        """One instruction set after the other, as most mistakes show in each."""
        first, *rest = sorted(build.available(), key=("avx2", "portable", "avx512").index)
        title = "AddressSanitizer, UndefinedBehaviorSanitizer"
        return (
            stage(family, first, "plain", (first,)),
            *(stage(family, name, "plain", (name,)) for name in rest),
            stage(family, title, "asan", build.SETS, sanitized),
        )

    return stages


@functools.cache
def stage(family: str, name: str, kind: str, sets: tuple[str, ...], chosen: str = "") -> Stage:
    arguments = [f"--confcutdir={TESTS}", str(TESTS / family)]
    arguments += ["-k", chosen] if chosen else []

    def prepare(tree: Path) -> Mapping[str, str]:
        try:
            if kind == "asan" and same_code(family, tree):
                raise Equivalent
            library = build.build(family, kind, tree / "csrc", sets, jobs=1)
        except BuildFailure as failure:
            raise Stillborn from failure
        log = Path(tempfile.mkdtemp(dir=tree)) / "report" if tree != ROOT else ROOT / "build/report"
        return {
            **environment(kind, log),
            "SCRN_CUDA_ON_CPU_MODULE": str(library),
            "SCRN_CPU_KERNELS_SETS": ",".join(sets),
        }

    return Stage(name, tuple(arguments), prepare, seconds=600 if kind == "plain" else 1800)


def same_code(family: str, tree: Path) -> bool:
    """Whether every object that can run on this machine is the same as without the mistake."""
    if tree == ROOT:
        return False
    sets = build.available()
    planted = build.objects(family, "plain", tree / "csrc", sets)
    original = build.objects(family, "plain", build.CSRC, sets)
    return all(
        one.compile().read_bytes() == other.compile().read_bytes()
        for one, other in zip(planted, original, strict=True)
    )
