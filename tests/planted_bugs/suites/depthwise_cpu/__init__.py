"""Mistakes in the CPU kernels of the depthwise units, which must be noticed by the tests that run
them without torch."""

from __future__ import annotations

from ...engine.suite import Suite
from ..cpu_stages import stages_of
from .chosen import CHOSEN

FAMILY = "depthwise"

SUITE = Suite(
    name="depthwise_cpu",
    title="CPU kernels of the depthwise units",
    # What prefetch.h asks for ahead changes no result, nor does a mistake in it.
    sources=(
        "csrc/depthwise/cpu/[!p]*.h",
        "csrc/depthwise/cpu/plan.h",
        "csrc/depthwise/cpu/launch.cpp",
        "csrc/depthwise/params.h",
    ),
    tests=(
        "tests/cuda_on_cpu/harness/*.py",
        "tests/cpu_kernels/*.py",
        "tests/cpu_kernels/harness/*",
        f"tests/cpu_kernels/{FAMILY}/**/*",
    ),
    chosen=CHOSEN,
    drawn=30,
    seed=1,
    stages=stages_of(FAMILY),
    ci=2,
)
