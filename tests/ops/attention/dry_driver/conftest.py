from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _poisoned() -> None:
    """Nothing is computed, and filling memory would take the time that is measured here."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``case``: every documented call on an H100 in bfloat16, and a few of the others."""
    if "case" not in metafunc.fixturenames:
        return
    # Triton may not be there, which the tests that need it say.
    from benchmarks.compiled.attention.calls import DIRECTIONS, cases
    from benchmarks.compiled.attention.driver import FAMILIES

    from .recorded import chunked

    few = [(1, 920, 256, 256)]
    if metafunc.config.getoption("--all-dry-runs"):
        chosen = list(cases(FAMILIES))
    else:
        chosen = [
            *cases([90], ["bf16"], ["contiguous"]),
            *cases([90], ["bf16"], ["channel_major"], [*few, (1, 2048, 256, 256)]),
            *cases([90], ["fp16"], ["contiguous"], few),
            *cases([80, 100, 120], ["bf16"], ["contiguous"], few),
        ]
    without = cases(FAMILIES, ["bf16"], ["contiguous"], few)
    chosen += [case._replace(keep=False) for case in without]
    chosen += [chunked(direction) for direction in DIRECTIONS]
    metafunc.parametrize("case", chosen, ids=str)
