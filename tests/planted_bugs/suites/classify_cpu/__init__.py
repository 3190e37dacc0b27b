"""Mistakes in the CPU kernels of loss and argmax, which must be noticed by the tests that run them
without torch."""

from __future__ import annotations

from ...engine.suite import Suite
from ..cpu_stages import stages_of
from .chosen import CHOSEN

FAMILY = "classify"

SUITE = Suite(
    name="classify_cpu",
    title="CPU kernels of loss and argmax",
    sources=("csrc/classify/cpu/*.h", "csrc/classify/cpu/classify_cpu.cpp"),
    tests=(
        "tests/cuda_on_cpu/harness/*.py",
        f"tests/cuda_on_cpu/{FAMILY}/cases.py",
        f"tests/cuda_on_cpu/{FAMILY}/reference.py",
        f"tests/cuda_on_cpu/{FAMILY}/test_numerics.py",
        f"tests/cuda_on_cpu/{FAMILY}/kernels/params.h",
        "tests/cpu_kernels/*.py",
        "tests/cpu_kernels/harness/*",
        f"tests/cpu_kernels/{FAMILY}/**/*",
    ),
    chosen=CHOSEN,
    drawn=16,
    seed=1,
    stages=stages_of(FAMILY),
    ci=2,
)
