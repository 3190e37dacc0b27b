"""Mistakes in the CUDA kernels, which must be noticed by the suite that runs them on the CPU."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cuda_on_cpu.harness import build, work
from tests.cuda_on_cpu.harness.device import DTYPES
from tests.cuda_on_cpu.srm import test_work

from ...engine.mutation import ROOT, Mutation
from ...engine.suite import CannotDecide, Equivalent, Stage, Stillborn, Suite
from .chosen import CHOSEN

FAMILY = "srm"
TESTS = ROOT / "tests" / "cuda_on_cpu"
ALL_TESTS = (
    "test_aggregate.py",
    "test_forward.py",
    "test_backward.py",
    "test_large_index.py",
    "test_pixel_lists.py",
    "test_coverage.py",
)
FORWARD, BACKWARD = "sample_forward_float32", "sample_backward_float32"
FORWARD16, BACKWARD16 = "sample_forward_float16", "sample_backward_float16"

# Where a mistake shows: the translation units that have it, and the tests that run them.
PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "srm/cuda/aggregate.cuh": (("aggregate",), ("test_aggregate.py",)),
    "srm/cuda/sample_forward.cuh": ((FORWARD,), ("test_forward.py",)),
    "srm/cuda/forward_offsets.cuh": ((FORWARD, FORWARD16), ("test_forward.py",)),
    "srm/cuda/forward_planes.cuh": ((FORWARD, FORWARD16), ("test_forward.py",)),
    "srm/cuda/forward_channels_last.cuh": ((FORWARD,), ("test_forward.py",)),
    "srm/cuda/pixel_lists.cuh": (
        ("pixel_lists", BACKWARD),
        ("test_pixel_lists.py", "test_backward.py"),
    ),
    "srm/cuda/common.cuh": (("aggregate", BACKWARD), ("test_aggregate.py", "test_backward.py")),
    "common/cuda/fill.cuh": ((BACKWARD, BACKWARD16), ("test_backward.py",)),
    "common/cuda/launch.cuh": (("aggregate", BACKWARD), ("test_aggregate.py", "test_backward.py")),
    "common/cuda/types.cuh": (("aggregate", BACKWARD), ("test_aggregate.py", "test_backward.py")),
    "common/cuda/vec.cuh": ((FORWARD, FORWARD16), ("test_forward.py",)),
}
ELSEWHERE = ((BACKWARD,), ("test_backward.py",))
# What no barrier and no atomic orders, only ThreadSanitizer sees for sure, and no other type of
# features would show it.
RACES = ("barrier", "atomic")
# Of the sanitizers' tests, which are slow: all options, few sizes.
SANITIZED = "test_types or test_fields or test_forward or test_unwanted or test_misaligned"


def stages(mutation: Mutation) -> Sequence[Stage]:
    """First the tests of one feature type that are nearest. Then those that count work, all, and
    the sanitizers' of what is nearest; of races ThreadSanitizer's. What would be noticed by others
    alone counts as unnoticed."""
    units, tests = PLACES.get(mutation.file.removeprefix("csrc/"), ELSEWHERE)
    first = stage("plain", "plain", units, tests)
    if mutation.kind in RACES:
        return first, stage("ThreadSanitizer", "tsan", units, tests, SANITIZED)
    return (
        first,
        stage("work", "count", test_work.UNITS, ("test_work.py",)),
        stage("plain, everything", "plain", (), ALL_TESTS),
        stage("AddressSanitizer, UndefinedBehaviorSanitizer", "asan", units, tests, SANITIZED),
    )


@functools.cache
def stage(
    name: str, kind: str, units: tuple[str, ...], tests: tuple[str, ...], chosen: str = ""
) -> Stage:
    arguments = [f"--confcutdir={TESTS}", *(str(TESTS / FAMILY / test) for test in tests)]
    selection = [f"({chosen})"] if chosen else []
    if any(unit.startswith("sample_") for unit in units):
        types = [
            each for each in DTYPES[1:] if not any(unit.endswith(f"_{each}") for unit in units)
        ]
        selection.append("not (" + " or ".join(types) + ")")
    if selection:
        arguments += ["-k", " and ".join(selection)]

    def prepare(tree: Path) -> Mapping[str, str]:
        if kind == "count":
            require_record_of_work()
        try:
            if not units and same_code(tree):
                raise Equivalent
            module = build.build(FAMILY, kind, tree / "csrc", jobs=1, units=units)
        except build.BuildFailure as failure:
            raise Stillborn from failure
        log = Path(tempfile.mkdtemp(dir=tree)) / "report" if tree != ROOT else ROOT / "build/report"
        return {**build.environment(kind, log), "SCRN_CUDA_ON_CPU_MODULE": str(module)}

    return Stage(name, tuple(arguments), prepare, seconds=300 if kind == "plain" else 900)


def require_record_of_work() -> None:
    """Without one of this compiler the tests that compare with it skip, and notice nothing."""
    recorded = json.loads(work.record_of(FAMILY).read_text())["compiler"]
    present = work.compiler()
    if recorded != present:
        raise CannotDecide(
            f"work is on record as {recorded} counts it, this is {present}: on sources without a "
            "mistake run python -m tests.cuda_on_cpu.harness.work srm, which counts it anew"
        )


def same_code(tree: Path) -> bool:
    """Whether every object that the mistake could be in is the same as without it."""
    if tree == ROOT:
        return False
    planted = build.kernel_objects(FAMILY, "plain", tree / "csrc")
    original = build.kernel_objects(FAMILY, "plain", ROOT / "csrc")
    return all(
        one.compile().read_bytes() == other.compile().read_bytes()
        for one, other in zip(planted, original, strict=True)
    )


SUITE = Suite(
    name="srm_cuda",
    title="CUDA kernels",
    sources=(
        "csrc/common/cuda/*.cuh",
        "csrc/srm/cuda/*.cuh",
        "csrc/srm/taps.h",
    ),
    tests=(
        "tests/cuda_on_cpu/conftest.py",
        "tests/cuda_on_cpu/harness/**/*",
        f"tests/cuda_on_cpu/{FAMILY}/**/*",
    ),
    chosen=CHOSEN,
    drawn=85,
    seed=1,
    ci=2,
    stages=stages,
)
