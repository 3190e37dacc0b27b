"""Mistakes in the CPU kernels, which must be noticed by the tests that run them without torch."""

from __future__ import annotations

from ...engine.suite import Suite
from ..cpu_stages import stages_of
from .chosen import CHOSEN

FAMILY = "srm"
AGGREGATION = "test_aggregate.py"

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
    stages=stages_of(
        FAMILY, {"aggregate.h": AGGREGATION, "exp.h": AGGREGATION, "": "test_sample.py"}
    ),
    ci=2,
)
