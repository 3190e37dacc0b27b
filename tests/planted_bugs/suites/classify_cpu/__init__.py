"""Mistakes in the CPU kernels of loss and argmax, which must be noticed by the tests that run them
without torch."""

from __future__ import annotations

from ..cpu_stages import cpu_suite
from .chosen import CHOSEN

SUITE = cpu_suite(
    "classify",
    "CPU kernels of loss, argmax and upsampling",
    # What prefetch.h asks for ahead changes no result, nor does a mistake in it.
    (
        "csrc/classify/cpu/[!p]*.h",
        "csrc/classify/cpu/pixels.h",
        "csrc/classify/cpu/plan.h",
        "csrc/classify/cpu/classify_cpu.cpp",
    ),
    CHOSEN,
    drawn=16,
    cuda_tests=("cases.py", "reference.py", "test_numerics.py", "kernels/params.h"),
)
