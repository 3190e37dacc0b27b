"""Mistakes in the CPU kernels, which must be noticed by the tests that run them without torch."""

from __future__ import annotations

from ..cpu_stages import cpu_suite
from .chosen import CHOSEN

AGGREGATION = "test_aggregate.py"

SUITE = cpu_suite(
    "srm",
    "CPU kernels",
    (
        "csrc/common/cpu/*.h",
        "csrc/srm/cpu/*.h",
        "csrc/srm/cpu/launch.cpp",
        "csrc/srm/cpu/tables.cpp",
        "csrc/srm/taps.h",
    ),
    CHOSEN,
    drawn=50,
    cuda_tests=("cases.py", "reference.py", "kernels/params.h"),
    nearest={"aggregate.h": AGGREGATION, "exp.h": AGGREGATION, "": "test_sample.py"},
)
