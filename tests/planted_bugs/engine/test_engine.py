"""The planting itself, on a toy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.planted_bugs.engine import driver as driver_module
from tests.planted_bugs.engine import mechanical, mutation, report
from tests.planted_bugs.engine.driver import Driver, Outcome
from tests.planted_bugs.engine.mutation import DoesNotApply, Mutation
from tests.planted_bugs.engine.suite import CannotDecide, Equivalent, Stage, Stillborn, Suite

NUMBERS = '''
"""Is 3 < 4, or 5 == 6?"""


def largest(values):  # a < b
    best = values[0]
    for value in values:
        if value > best and value == value:
            best = value
    return best


def unused(n):
    return n + 1
'''
TEST = """
from toy.numbers import largest
import toy.numbers

def test_largest():
    assert largest([1, 3, 2]) == 3

def test_nan():
    assert largest([1, float("nan"), 2]) == 2
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one module and its tests."""
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    for module in (driver_module, mechanical):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr("tests.planted_bugs.engine.suite.ROOT", tmp_path)
    for path, text in {
        "toy/__init__.py": "",
        "toy/numbers.py": NUMBERS,
        "checks/test_numbers.py": TEST,
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def suite_of(root: Path, *chosen: Mutation, drawn: int = 0, **options: object) -> Suite:
    stage = Stage("all", (str(root / "checks"),), **options)
    return Suite(
        name="toy",
        title="Toy",
        sources=("toy/numbers.py",),
        tests=("checks/*.py",),
        chosen=chosen,
        drawn=drawn,
        seed=0,
        stages=lambda mutation: (stage,),
    )


FIRST = Mutation("first instead of largest", "toy/numbers.py", "best = value\n", "pass\n")
UNSEEN = Mutation("nobody calls it", "toy/numbers.py", "return n + 1", "return n")


def run(toy: Path, suite: Suite) -> tuple[Driver, dict[str, Outcome], bool]:
    driver = Driver(suite, folder=toy / "results")
    complete = driver.run()
    return driver, {each.name: each for each in driver.known.values()}, complete


def test_noticed_and_unnoticed_mistakes(toy: Path) -> None:
    driver, found, complete = run(toy, suite_of(toy, FIRST, UNSEEN))
    assert complete
    assert found[FIRST.name].status == "killed"
    assert found[FIRST.name].by == "test_numbers.py::test_largest"
    assert found[UNSEEN.name].status == "survived"
    summary = report.summary(driver)
    assert summary.share == 0.5
    assert summary.complaints == [f"survived, and no reason is on record: {UNSEEN.name}"]
    assert not list((toy / "results" / "trees").iterdir())


def test_the_report(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, _, _ = run(toy, suite_of(toy, FIRST, UNSEEN))
    monkeypatch.setattr(report, "PAGE", toy / "docs" / "page.md")
    monkeypatch.setattr(report, "reasons", lambda suite: {UNSEEN.name: "Dead code."})
    assert report.summary(driver).complaints == []
    report.write([driver])
    text = report.PAGE.read_text()
    assert "1 of 2 noticed (50.0%): 2 chosen, 0 drawn" in text
    assert "- nobody calls it: Dead code." in text
    assert "| first instead of largest | `test_numbers.py::test_largest` | all |" in text


def test_what_is_known_is_not_run_again(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = suite_of(toy, FIRST, UNSEEN)
    run(toy, suite)
    ran: list[str] = []
    decide = Driver.decide
    monkeypatch.setattr(
        Driver, "decide", lambda self, each: ran.append(each.name) or decide(self, each)
    )
    run(toy, suite)
    assert ran == []
    tests = toy / "checks" / "test_numbers.py"
    tests.write_text(TEST + "\ndef test_next():\n    assert toy.numbers.unused(1) == 2\n")
    assert Driver(suite, folder=toy / "results", keep_killed=True).run()
    assert ran == [UNSEEN.name]
    _, found, _ = run(toy, suite)
    assert ran == [UNSEEN.name, FIRST.name]
    assert found[UNSEEN.name].by == "test_numbers.py::test_next"
    (toy / "toy" / "numbers.py").write_text(NUMBERS + "\nOTHER = 1\n")
    run(toy, suite)
    assert sorted(ran[2:]) == sorted([FIRST.name, UNSEEN.name])


def test_what_other_stages_have_not_noticed_is_tried_again(toy: Path) -> None:
    suite = suite_of(toy, FIRST, UNSEEN)
    run(toy, suite)
    more = Stage("more", (str(toy / "checks"),))
    driver = Driver(replace(suite, stages=lambda _: (more,)), folder=toy / "results")
    assert driver.outcome(FIRST) is not None
    assert driver.outcome(UNSEEN) is None


def test_what_changes_while_it_is_tried_is_not_kept(toy: Path) -> None:
    driver = Driver(suite_of(toy, FIRST), folder=toy / "results")
    tests = toy / "checks" / "test_numbers.py"
    tests.write_text(TEST + "\n")
    with pytest.raises(CannotDecide, match="sources or tests have changed while it was tried"):
        driver.decide(FIRST)
    assert not driver.path.exists()


def test_a_file_that_is_none_is_named(toy: Path) -> None:
    (toy / "toy.json").write_text("<<<<<<< ours")
    with pytest.raises(ValueError, match=r"toy\.json: expected outcomes of planted bugs, found"):
        Driver(suite_of(toy, FIRST), folder=toy)


def test_a_limit(toy: Path) -> None:
    driver = Driver(suite_of(toy, FIRST, UNSEEN), folder=toy / "results")
    assert "Waiting to be tried with these sources and tests: 2." in report.section(driver)
    assert not driver.run(limit=1)
    assert list(driver.known) == [FIRST.name]
    assert "1 of 1 noticed" in (text := report.section(driver))
    assert "sources and tests: 1." in text
    assert driver.run(limit=1)
    assert "Waiting" not in report.section(driver)


def test_another_machine_goes_on(toy: Path) -> None:
    suite, kept = suite_of(toy, FIRST, UNSEEN), toy / "kept"
    assert not Driver(suite, folder=toy / "here", outcomes=kept).run(limit=1)
    there = Driver(suite, folder=toy / "there", outcomes=kept)
    assert [each.name for each in there.wanted() if there.outcome(each) is None] == [UNSEEN.name]
    assert there.run()
    first, *lines, last = (kept / "toy.json").read_text().splitlines()
    assert (first, last) == ("[", "]")
    assert [json.loads(line.removesuffix(","))["name"] for line in lines] == sorted(
        [FIRST.name, UNSEEN.name]
    )
    # Two at a time keep what both have found.
    first, second = (Driver(suite, folder=toy / "both") for _ in range(2))
    assert first.run(text=FIRST.name)
    assert second.run(text=UNSEEN.name)
    assert sorted(driver_module.read(second.path)) == sorted([FIRST.name, UNSEEN.name])
    # What is no mistake of the suite any more is let go of.
    other = Driver(suite_of(toy, FIRST), folder=toy / "there", outcomes=kept)
    other.forget(FIRST.name)
    assert other.run()
    assert UNSEEN.name not in (kept / "toy.json").read_text()


@pytest.mark.parametrize("old", ["value\n    return worst", "value"])
def test_a_mutation_that_does_not_apply(toy: Path, old: str) -> None:
    missing = Mutation("gone", "toy/numbers.py", old, "pass")
    with pytest.raises(DoesNotApply, match=r"expected once in toy/numbers\.py, found"):
        run(toy, suite_of(toy, missing))


def test_tests_that_fail_without_a_mistake(toy: Path) -> None:
    (toy / "checks" / "test_numbers.py").write_text("def test_broken():\n    assert False\n")
    with pytest.raises(CannotDecide, match="fails without a mistake: test_numb"):
        run(toy, suite_of(toy, FIRST))


def test_without_the_whole_baseline_the_test_that_noticed_must_pass(toy: Path) -> None:
    tests = toy / "checks" / "test_numbers.py"
    stage = Stage("all", (str(tests),))
    suite = replace(suite_of(toy, FIRST), stages=lambda mutation: (stage,))
    tests.write_text(f"{TEST}\ndef test_broken():\n    assert False\n")
    driver = Driver(suite, folder=toy / "results", whole_baseline=False)
    assert driver.decide(FIRST).by == "test_numbers.py::test_largest"
    tests.write_text(TEST.replace("== 3", "== 4"))
    driver = Driver(suite, folder=toy / "results", whole_baseline=False)
    with pytest.raises(CannotDecide, match=r"without a mistake: test_numbers\.py::test_larg"):
        driver.decide(FIRST)


def test_a_stage_is_narrowed_to_the_test_that_failed() -> None:
    stage = Stage("all", ("--confcutdir=/a", "/a/test_b.py", "/a/test_c.py", "-k", "float32"))
    for failed in ("test_c.py::test_d[1-2]", "test_c.py::test_d"):
        found = driver_module.narrowed(stage, failed)
        assert found.arguments == ("--confcutdir=/a", "-k", "float32", "/a/test_c.py::test_d")
    for failed in ("test_e.py::test_d", "killed by signal 11", "stopped after 10 s"):
        assert driver_module.narrowed(stage, failed) is stage


def test_tests_that_cannot_run(toy: Path) -> None:
    (toy / "checks" / "test_numbers.py").write_text("import nowhere\n")
    with pytest.raises(CannotDecide, match="exit status 2"):
        run(toy, suite_of(toy, FIRST))


@pytest.mark.parametrize(("signal", "decided"), [("SIGTERM", False), ("SIGSEGV", True)])
def test_who_ends_the_tests_from_outside_notices_nothing(
    toy: Path, signal: str, decided: bool
) -> None:
    ending = f"import os, signal; os.kill(os.getpid(), signal.{signal})"
    suite = suite_of(toy, Mutation("ends", "toy/numbers.py", "best = values[0]", ending))
    if decided:
        assert run(toy, suite)[1]["ends"].by.startswith("killed by signal")
    else:
        with pytest.raises(CannotDecide, match="exit status -15"):
            run(toy, suite)


def test_an_endless_loop_is_noticed(toy: Path) -> None:
    looping = Mutation("loop", "toy/numbers.py", "best = values[0]", "import time; time.sleep(60)")
    _, found, _ = run(toy, suite_of(toy, looping, seconds=10))
    assert found["loop"].by == "stopped after 10 s"


@pytest.mark.parametrize(
    ("error", "status"), [(Stillborn, "stillborn"), (Equivalent, "equivalent")]
)
def test_what_is_no_mistake_does_not_count(toy: Path, error: type[Exception], status: str) -> None:
    """Drawn mutations that do not compile, or change nothing, give way to others."""
    places = {each.name: each for each in mechanical.candidates("toy/numbers.py")}
    assert len(places) == 4

    def prepare(tree: Path) -> dict[str, str]:
        if tree != toy and "value < best" not in (tree / "toy/numbers.py").read_text():
            (tree / "seen").touch()
            if ">= best" in (tree / "toy/numbers.py").read_text():
                raise error
        return {}

    driver, found, complete = run(toy, suite_of(toy, drawn=3, prepare=prepare))
    assert complete
    assert [each.status for each in found.values()].count(status) == 1
    assert len(list(driver_module.counted(driver))) == 3


def test_places_in_python(toy: Path) -> None:
    assert [
        (each.line, each.old, each.new) for each in mechanical.candidates("toy/numbers.py")
    ] == [
        ("if value > best and value == value:", ">", ">="),
        ("if value > best and value == value:", "and", "or"),
        ("if value > best and value == value:", "==", "!="),
        ("return n + 1", " + 1", ""),
    ]


CUDA = """
#if A < B
// a < b
/* c == d */
template <typename T, bool = (sizeof(T) < 4)>
__global__ void kernel(float* out, int n, const char* name = "x < y") {
  static_assert(sizeof(float) == 4, "size");
  if (threadIdx.x + 1 < n && n != 3) atomicAdd(out + f(n, 2), g(out, n));
  __syncthreads();
}
"""


def test_places_in_cuda(toy: Path) -> None:
    (toy / "toy" / "kernel.cuh").write_text(CUDA)
    found = mechanical.candidates("toy/kernel.cuh")
    assert [(each.kind, each.old, each.new) for each in found] == [
        ("one", " + 1", ""),
        ("comparison", "<", "<="),
        ("logic", "&&", "||"),
        ("comparison", "!=", "=="),
        ("atomic", "atomicAdd(out + f(n, 2), g(out, n))", "(*(out + f(n, 2)) += (g(out, n)))"),
        ("barrier", "__syncthreads();", ";"),
    ]
    assert len({each.identity for each in found}) == len(found)
    assert "    (*(out + f(n, 2))" not in found[4].mutated()
    assert " < n && n == 3" in found[3].mutated()
