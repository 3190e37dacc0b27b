"""Without torch's trace of what it traces, which pytest's capturing of logs switches on: with it an
export takes ten times as long."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_trace_log() -> Iterator[None]:
    log = logging.getLogger("torch.__trace")
    held, log.handlers, log.propagate = (log.handlers, log.propagate), [], False
    yield
    log.handlers, log.propagate = held
