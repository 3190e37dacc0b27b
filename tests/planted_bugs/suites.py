"""The suites by name."""

from . import cuda

SUITES = {suite.name: suite for suite in (cuda.SUITE,)}
