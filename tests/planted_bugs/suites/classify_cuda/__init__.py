"""Mistakes in the CUDA kernels, which must be noticed by the suite that runs them on the CPU."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cuda_on_cpu.harness import build

from ...engine.mutation import ROOT, Mutation
from ...engine.suite import Stage, Stillborn, Suite
from .chosen import CHOSEN

FAMILY = "classify"
TESTS = ROOT / "tests" / "cuda_on_cpu"


def stages(mutation: Mutation) -> Sequence[Stage]:
    """First the tests in float32, then all. The dispatch names every type: all are compiled."""
    return (stage("plain, float32", "float32"), stage("plain, everything", ""))


@functools.cache
def stage(name: str, chosen: str) -> Stage:
    files = ("test_kernels.py", "test_spans.py", "test_numerics.py", "test_coverage.py")
    tests = [str(TESTS / FAMILY / test) for test in files]
    arguments = [f"--confcutdir={TESTS}", *tests, *(["-k", chosen] if chosen else [])]

    def prepare(tree: Path) -> Mapping[str, str]:
        try:
            module = build.build(FAMILY, "plain", tree / "csrc", jobs=1)
        except build.BuildFailure as failure:
            raise Stillborn from failure
        log = Path(tempfile.mkdtemp(dir=tree)) / "report" if tree != ROOT else ROOT / "build/report"
        return {**build.environment("plain", log), "SCRN_CUDA_ON_CPU_MODULE": str(module)}

    return Stage(name, tuple(arguments), prepare)


SUITE = Suite(
    name="classify_cuda",
    title="CUDA kernels of loss and argmax",
    sources=("csrc/classify/cuda/*.cuh",),
    tests=(
        "tests/cuda_on_cpu/conftest.py",
        "tests/cuda_on_cpu/harness/**/*",
        f"tests/cuda_on_cpu/{FAMILY}/**/*",
    ),
    chosen=CHOSEN,
    drawn=24,
    seed=1,
    stages=stages,
    ci=2,
)
