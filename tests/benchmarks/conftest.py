"""What several files of tests read."""

import re

import pytest


@pytest.fixture
def compact():
    """A table's text without what pads its columns."""

    def compacted(text):
        lines = (re.sub(r" *\| *", " | ", line).strip() for line in text.splitlines())
        return "\n".join(lines)

    return compacted
