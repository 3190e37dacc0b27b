"""Plants mutations, runs the tests on each, and remembers what came out."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import mechanical
from .mutation import ROOT, Mutation, digest, plant
from .suite import CannotDecide, Equivalent, Stage, Stillborn, Suite

FOLDER = ROOT / "build" / "planted_bugs"
OUTCOMES = ROOT / "tests" / "planted_bugs" / "outcomes"

KILLED, SURVIVED, STILLBORN, EQUIVALENT = "killed", "survived", "stillborn", "equivalent"
COUNTED = (KILLED, SURVIVED)

PYTEST = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
TESTS_FAILED = 1
# What a mistake does not bring about: somebody ends the run, or memory is short.
FROM_OUTSIDE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)


@dataclass(frozen=True)
class Outcome:
    """Of one mutation; `key` says for which sources and tests it holds. What was not noticed holds
    for the stages that were `tried`, which differ between processors."""

    name: str
    status: str
    stage: str = ""  # the one that failed
    by: str = ""  # the first test that failed
    seconds: float = 0.0
    key: str = ""
    tried: str = ""


class Driver:
    """Runs one suite. Outcomes are kept in a file: what is known is not run again.

    Args:
        folder: of the trees with a mistake, and of what is known of this machine.
        outcomes: of the file, by default that one.
        whole_baseline: whether all tests of a stage must pass without a mistake, or only the one
            that has noticed it, which is enough for a few mistakes.
    """

    def __init__(
        self,
        suite: Suite,
        jobs: int = 1,
        folder: Path = FOLDER,
        outcomes: Path | None = None,
        keep_killed: bool = False,
        whole_baseline: bool = True,
    ) -> None:
        self.suite, self.jobs, self.folder = suite, jobs, folder
        self.keep_killed, self.whole_baseline = keep_killed, whole_baseline
        self.path = (outcomes or folder) / f"{suite.name}.json"
        self.known = read(self.path)
        self.decided: dict[str, Outcome] = {}  # by this run
        self.lock = threading.Lock()
        self.baselines: dict[Stage, threading.Lock] = {}
        self.sources, self.tests = self._digests()
        self.drawn = mechanical.sample(suite.files(), suite.seed)

    def _files(self, patterns: Sequence[str]) -> list[Path]:
        found = {path for pattern in patterns for path in ROOT.glob(pattern)}
        return sorted(path for path in found if path.is_file() and path.suffix != ".pyc")

    def _digests(self) -> tuple[str, str]:
        return digest(*self._files(self.suite.sources)), digest(*self._files(self.suite.tests))

    def tried(self, mutation: Mutation) -> str:
        return ", ".join(stage.name for stage in self.suite.stages(mutation))

    def key(self, mutation: Mutation) -> str:
        source = digest(self.sources, mutation.file, mutation.mutated())
        return f"{source}-{self.tests}"

    def outcome(self, mutation: Mutation) -> Outcome | None:
        """What is known of a mutation of the present sources by the present tests."""
        known, key = self.known.get(mutation.name), self.key(mutation)
        if known is None or (known.status != KILLED and known.tried != self.tried(mutation)):
            return None
        if known.key == key:
            return known
        same_source = known.key.split("-")[0] == key.split("-")[0]
        return known if same_source and self.keep_killed and known.status != SURVIVED else None

    def wanted(self) -> list[Mutation]:
        """The chosen mutations, and of the drawn ones as many as the suite asks for, leaving out
        those that are known not to count."""
        counted = []
        for mutation in self.drawn:
            known = self.outcome(mutation)
            if len(counted) < self.suite.drawn and (known is None or known.status in COUNTED):
                counted.append(mutation)
        return [*self.suite.chosen, *counted]

    def forget(self, text: str) -> None:
        self.known = {name: each for name, each in self.known.items() if text not in name}

    def run(
        self,
        limit: int | None = None,
        text: str = "",
        tell: Callable[[Outcome], None] = lambda outcome: None,
    ) -> bool:
        """Runs what is not known, at most `limit` of them and of those whose name has `text`.

        Returns True where nothing is left to do.
        """
        while True:
            wanted = [each for each in self.wanted() if text in each.name]
            pending = [each for each in wanted if self.outcome(each) is None]
            if not pending or limit == 0:
                return not pending
            batch = pending[:limit]
            limit = None if limit is None else limit - len(batch)
            with ThreadPoolExecutor(self.jobs) as pool:
                for future in as_completed([pool.submit(self.decide, each) for each in batch]):
                    tell(future.result())

    def decide(self, mutation: Mutation) -> Outcome:
        """Plants one mutation and runs its stages until one fails."""
        start = time.perf_counter()
        key = self.key(mutation)
        tree = self.folder / "trees" / digest(mutation.name, key)
        shutil.rmtree(tree, ignore_errors=True)
        try:
            plant(mutation, tree)
            status, stage, by = self._run_stages(mutation, tree)
        finally:
            shutil.rmtree(tree, ignore_errors=True)
        seconds = round(time.perf_counter() - start, 1)
        tried = self.tried(mutation)
        outcome = Outcome(mutation.name, status, stage, by, seconds, key, tried)
        if self._digests() != (self.sources, self.tests):
            raise CannotDecide(f"{mutation.name}: sources or tests have changed while it was tried")
        with self.lock:
            self.known[mutation.name] = self.decided[mutation.name] = outcome
            self._write()
        return outcome

    def _run_stages(self, mutation: Mutation, tree: Path) -> tuple[str, str, str]:
        for stage in self.suite.stages(mutation):
            if self.whole_baseline:
                self.check_baseline(stage)
            try:
                failed = run_stage(stage, tree)
            except Stillborn:
                return STILLBORN, stage.name, ""
            except Equivalent:
                return EQUIVALENT, stage.name, ""
            if failed:
                if not self.whole_baseline:
                    self.check_baseline(narrowed(stage, failed))
                return KILLED, stage.name, failed
        return SURVIVED, "", ""

    def check_baseline(self, stage: Stage) -> None:
        """The tests must pass without a mistake, or killing would mean nothing."""
        with self.lock:
            lock = self.baselines.setdefault(stage, threading.Lock())
        with lock:
            key = digest(self.sources, self.tests, repr(stage))
            mark = self.folder / "baselines" / key
            if mark.is_file():
                return
            failed = run_stage(stage, ROOT)
            if failed:
                raise CannotDecide(f"stage {stage.name!r} fails without a mistake: {failed}")
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()

    def _write(self) -> None:
        """Adds what this run has decided to the file, where another one may have written, too. A
        line for each, so that two versions can be compared."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        names = {each.name for each in (*self.suite.chosen, *self.drawn)}
        with (self.folder / f"{self.suite.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = read(self.path) | self.decided
            kept = [asdict(found[name]) for name in sorted(found) if name in names]
            lines = ",\n".join(map(json.dumps, kept))
            partial = self.folder / f"{self.suite.name}.{os.getpid()}.tmp"
            partial.write_text(f"[\n{lines}\n]\n")
            partial.rename(self.path)


def read(path: Path) -> dict[str, Outcome]:
    """By name."""
    if not path.is_file():
        return {}
    try:
        return {each["name"]: Outcome(**each) for each in json.loads(path.read_text())}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: expected outcomes of planted bugs, found {error}") from error


def run_stage(stage: Stage, tree: Path) -> str:
    """The first test that fails on a tree, or nothing if all pass."""
    environment = {**os.environ, **dict(stage.environment), **stage.prepare(tree)}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # The working directory and this path come before an installed package.
    environment["PYTHONPATH"] = f"{tree}:{ROOT}"
    command = [sys.executable, "-c", PYTEST, "-x", "-q", "-p", "no:cacheprovider", "--tb=line"]
    command += ["-rfE", f"--rootdir={ROOT}", *stage.arguments]
    try:
        run = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=stage.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"stopped after {stage.seconds:g} s"
    if run.returncode == 0:
        return ""
    if run.returncode < 0 and -run.returncode not in FROM_OUTSIDE:
        return f"killed by signal {-run.returncode}"
    if run.returncode != TESTS_FAILED:
        raise CannotDecide(f"{stage.name}: exit status {run.returncode}\n{run.stdout}{run.stderr}")
    found = re.search(r"^(?:FAILED|ERROR) (?:\S*/)?(\S+)", run.stdout, re.MULTILINE)
    return found.group(1) if found else "a failure without a name"


def narrowed(stage: Stage, failed: str) -> Stage:
    """The stage with every case of the test that failed and nothing else; with all tests where
    something else has ended them."""
    file, _, test = failed.partition("::")
    paths = [each for each in stage.arguments if Path(each).name == file]
    if not (test and paths):
        return stage
    others = [each for each in stage.arguments if not each.endswith(".py")]
    return replace(stage, arguments=(*others, f"{paths[0]}::{test.partition('[')[0]}"))


def counted(driver: Driver) -> Iterator[tuple[Mutation, Outcome]]:
    """The mutations that count, with their outcomes; those not run yet are left out."""
    for mutation in driver.wanted():
        outcome = driver.outcome(mutation)
        if outcome is not None and outcome.status in COUNTED:
            yield mutation, outcome
