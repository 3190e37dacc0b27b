"""What a set of planted bugs consists of: sources, mistakes, and the tests that must notice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .mutation import ROOT, Mutation


class Stillborn(Exception):  # noqa: N818
    """The mistake does not compile: the compiler has found it, not the tests."""


class Equivalent(Exception):  # noqa: N818
    """The compiled code is the same: there is no mistake."""


class CannotDecide(RuntimeError):  # noqa: N818
    """The tests neither passed nor failed, or fail without a mistake, or cannot run; the message
    says how."""


# Environment variables for the tests, from the tree that has the mistake. May raise Stillborn,
# Equivalent or CannotDecide.
Prepare = Callable[[Path], Mapping[str, str]]


@dataclass(frozen=True)
class Stage:
    """One run of pytest. It is stopped at the first failure; the stages of a mutation follow one
    another until one fails."""

    name: str
    arguments: tuple[str, ...]  # of pytest
    prepare: Prepare = field(default=lambda tree: {}, compare=False, repr=False)
    environment: tuple[tuple[str, str], ...] = ()
    seconds: float = 300  # what takes longer has failed: an endless loop


@dataclass(frozen=True)
class Suite:
    name: str
    title: str
    sources: tuple[str, ...]  # patterns from the root; generated mistakes are drawn from them
    tests: tuple[str, ...]  # patterns of the files that decide
    chosen: tuple[Mutation, ...]
    drawn: int  # how many generated ones that compile and change the code
    seed: int
    stages: Callable[[Mutation], Sequence[Stage]]
    ci: int = 10  # how many of the chosen run with the tests

    def files(self) -> list[str]:
        found = {str(p.relative_to(ROOT)) for pattern in self.sources for p in ROOT.glob(pattern)}
        if not found:
            raise ValueError(f"{self.name}: no file matches {self.sources}")
        return sorted(found)
