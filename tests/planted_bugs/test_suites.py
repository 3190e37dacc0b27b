"""Every mistake of every suite can be planted; a fixed sample of them must be noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cuda_on_cpu.harness import build
from tests.planted_bugs.engine import mechanical, report
from tests.planted_bugs.engine.driver import Driver
from tests.planted_bugs.engine.mutation import Mutation
from tests.planted_bugs.suites import SUITES


@pytest.mark.parametrize("name", SUITES)
def test_every_mutation_applies(name: str) -> None:
    suite = SUITES[name]
    drawn = mechanical.sample(suite.files(), suite.seed)
    assert len(drawn) >= suite.drawn
    for each in (*suite.chosen, *drawn):
        each.mutated()
    names = [each.name for each in (*suite.chosen, *drawn)]
    assert len(names) == len(set(names))
    identities = {each.identity for each in (*suite.chosen, *drawn)}
    for known in report.reasons(name):
        assert known in identities, f"a reason for what is no mutation: {known}"


def sample() -> list[tuple[str, Mutation]]:
    """Every few of the chosen that are not known to be harmless."""
    drawn = []
    for name, suite in SUITES.items():
        harmless = report.reasons(name)
        noticed = [each for each in suite.chosen if each.identity not in harmless]
        drawn += [(name, each) for each in noticed[:: -(-len(noticed) // suite.ci)]]
    return drawn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted_bugs")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "chosen"), sample(), ids=lambda each: getattr(each, "name", each))
def test_a_sample_is_noticed(name: str, chosen: Mutation, folder: Path) -> None:
    try:
        # Without a mistake all these tests run by themselves, beside this one.
        driver = Driver(SUITES[name], folder=folder, whole_baseline=False)
        outcome = driver.decide(chosen)
    except build.CannotBuild as error:
        pytest.skip(str(error))
    if outcome.status == "equivalent":
        pytest.skip("no difference in the code that this processor runs")
    assert outcome.status == "killed", outcome
