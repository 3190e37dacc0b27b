"""Suites of a family's CPU kernels: a mistake is tried on every instruction set of this machine."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cpu_kernels.harness import build
from tests.cuda_on_cpu.harness.build import BuildFailure, environment

from ..engine.mutation import ROOT, Mutation
from ..engine.suite import Equivalent, Stage, Stillborn, Suite

TESTS = ROOT / "tests" / "cpu_kernels"
COMPILING = threading.Lock()


def cpu_suite(
    family: str,
    title: str,
    sources: tuple[str, ...],
    chosen: tuple[Mutation, ...],
    drawn: int,
    *,
    ci: int = 2,
    cuda_tests: tuple[str, ...] = (),
    nearest: Mapping[str, str] | None = None,
) -> Suite:
    """Of the kernels that ``tests/cpu_kernels/<family>`` runs.

    Args:
        cuda_tests: files of ``tests/cuda_on_cpu/<family>`` that those tests take their cases from.
        nearest: by the end of a source's name, the test file that is run first.
    """
    return Suite(
        name=f"{family}_cpu",
        title=title,
        sources=sources,
        tests=(
            "tests/cuda_on_cpu/harness/*.py",
            *(f"tests/cuda_on_cpu/{family}/{file}" for file in cuda_tests),
            "tests/cpu_kernels/*.py",
            "tests/cpu_kernels/harness/*",
            f"tests/cpu_kernels/{family}/**/*",
        ),
        chosen=chosen,
        drawn=drawn,
        seed=1,
        stages=stages_of(family, nearest),
        ci=ci,
    )


def stages_of(
    family: str, nearest: Mapping[str, str] | None = None
) -> Callable[[Mutation], Sequence[Stage]]:
    files = sorted(path.name for path in (TESTS / family).glob("test_*.py"))

    def stages(mutation: Mutation) -> Sequence[Stage]:
        """One instruction set after the other, since most mistakes show in each."""
        sets = sorted(build.available(), key=("avx2", "portable", "avx512").index)
        first = [test for end, test in (nearest or {}).items() if mutation.file.endswith(end)]
        tests = tuple(dict.fromkeys([*first, *files]))
        return [stage(family, name, tests, name == sets[-1]) for name in sets]

    return stages


@functools.cache
def stage(family: str, name: str, tests: tuple[str, ...], last: bool) -> Stage:
    arguments = (f"--confcutdir={TESTS}", *(str(TESTS / family / test) for test in tests))

    def prepare(tree: Path) -> Mapping[str, str]:
        try:
            if last and same_code(family, tree):
                raise Equivalent
            library = build.build(family, "plain", tree / "csrc", (name,), jobs=1)
        except BuildFailure as failure:
            raise Stillborn from failure
        return {
            **environment("plain", ROOT / "build" / "report"),
            "SCRN_CUDA_ON_CPU_MODULE": str(library),
            "SCRN_CPU_KERNELS_SETS": name,
        }

    return Stage(name, arguments, prepare, seconds=600)


def same_code(family: str, tree: Path) -> bool:
    """Whether every object that can run on this machine is, once it is optimised, the same as
    without the mistake."""
    if tree == ROOT:
        return False
    sets = build.available()
    planted = build.objects(family, "optimised", tree / "csrc", sets)
    original = build.objects(family, "optimised", build.CSRC, sets)
    with COMPILING:  # two threads would write the same file
        for each in original:
            each.compile()
    return all(
        one.compile().read_bytes() == other.compile().read_bytes()
        for one, other in zip(planted, original, strict=True)
    )
