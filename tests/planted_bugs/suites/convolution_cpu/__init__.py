"""Mistakes in the CPU kernel of the 3x3 convolution, which must be noticed by the tests that run
it without torch."""

from __future__ import annotations

from ...engine.suite import Suite
from ..cpu_stages import stages_of
from .chosen import CHOSEN

FAMILY = "convolution"

SUITE = Suite(
    name="convolution_cpu",
    title="CPU kernel of the 3x3 convolution",
    sources=("csrc/convolution/cpu/*.h", "csrc/convolution/cpu/launch.cpp"),
    tests=(
        "tests/cuda_on_cpu/harness/*.py",
        "tests/cpu_kernels/*.py",
        "tests/cpu_kernels/harness/*",
        f"tests/cpu_kernels/{FAMILY}/**/*",
    ),
    chosen=CHOSEN,
    drawn=12,
    seed=1,
    stages=stages_of(FAMILY),
    ci=1,
)
