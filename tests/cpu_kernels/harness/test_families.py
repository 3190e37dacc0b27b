"""A family of CPU kernels that nothing runs by itself is an error: nobody has to keep a list."""

from __future__ import annotations

import pytest

from . import build


def test_every_family_of_kernels_is_run() -> None:
    found = {path.parent.parent.name for path in build.CSRC.glob("*/cpu/kernels_*.cpp")}
    assert found
    assert found == set(build.families())


@pytest.mark.parametrize("family", build.families())
def test_every_instruction_set_is_compiled(family: str) -> None:
    sources = (build.CSRC / family / "cpu").glob("*.cpp")
    assert {build.set_of(source) for source in sources} == {"", *build.SETS}
