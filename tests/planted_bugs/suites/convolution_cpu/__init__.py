"""Mistakes in the CPU kernel of the 3x3 convolution, which must be noticed by the tests that run
it without torch."""

from __future__ import annotations

from ..cpu_stages import cpu_suite
from .chosen import CHOSEN

SUITE = cpu_suite(
    "convolution",
    "CPU kernel of the 3x3 convolution",
    ("csrc/convolution/cpu/*.h", "csrc/convolution/cpu/launch.cpp"),
    CHOSEN,
    drawn=12,
    ci=1,
)
