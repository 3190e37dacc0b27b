"""Mistakes in the CPU kernels of the depthwise units, which must be noticed by the tests that run
them without torch."""

from __future__ import annotations

from ..cpu_stages import cpu_suite
from .chosen import CHOSEN

SUITE = cpu_suite(
    "depthwise",
    "CPU kernels of the depthwise units",
    # What prefetch.h asks for ahead changes no result, nor does a mistake in it.
    (
        "csrc/depthwise/cpu/[!p]*.h",
        "csrc/depthwise/cpu/plan.h",
        "csrc/depthwise/cpu/launch.cpp",
        "csrc/depthwise/cpu/gelu_table.cpp",
        "csrc/depthwise/params.h",
    ),
    CHOSEN,
    drawn=30,
)
