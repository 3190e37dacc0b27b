"""The suites by name."""

from . import attention, cuda

SUITES = {suite.name: suite for suite in (cuda.SUITE, attention.SUITE)}
