"""Mistakes in the CPU kernels, which must be noticed by the tests that run them without torch."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cpu_kernels.harness import build
from tests.cuda_on_cpu.harness.build import BuildFailure, environment

from ...engine.mutation import ROOT, Mutation
from ...engine.suite import Equivalent, Stage, Stillborn, Suite
from .chosen import CHOSEN

FAMILY = "srm"
TESTS = ROOT / "tests" / "cpu_kernels"
AGGREGATION = ("aggregate.h", "exp.h")


def stages(mutation: Mutation) -> Sequence[Stage]:
    """The instruction sets of this machine, one after the other, since most mistakes show in each;
    the tests that are nearest come first."""
    sets = sorted(build.available(), key=("avx2", "portable", "avx512").index)
    tests = ["test_sample.py", "test_aggregate.py"]
    if mutation.file.endswith(AGGREGATION):
        tests.reverse()
    return [stage(name, tuple(tests), name == sets[-1]) for name in sets]


@functools.cache
def stage(name: str, tests: tuple[str, ...], last: bool) -> Stage:
    arguments = (f"--confcutdir={TESTS}", *(str(TESTS / FAMILY / test) for test in tests))

    def prepare(tree: Path) -> Mapping[str, str]:
        try:
            if last and same_code(tree):
                raise Equivalent
            library = build.build(FAMILY, "plain", tree / "csrc", (name,), jobs=1)
        except BuildFailure as failure:
            raise Stillborn from failure
        return {
            **environment("plain", ROOT / "build" / "report"),
            "SCRN_CUDA_ON_CPU_MODULE": str(library),
            "SCRN_CPU_KERNELS_SETS": name,
        }

    return Stage(name, arguments, prepare, seconds=600)


def same_code(tree: Path) -> bool:
    """Whether every object that can run on this machine is, once it is optimised, the same as
    without the mistake."""
    if tree == ROOT:
        return False
    sets = build.available()
    planted = build.objects(FAMILY, "optimised", tree / "csrc", sets)
    original = build.objects(FAMILY, "optimised", build.CSRC, sets)
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
