"""Which cases are left where a sanitizer takes a sample."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from . import session

FOLDER = Path("/tests/kernels")


@dataclass(eq=False)
class Case:
    path: Path
    nodeid: str
    callspec: Any


def case(file: str, test: str, number: int, device: str | None = None) -> Case:
    params = {} if device is None else {"device": device}
    name = f"{file}::{test}[{device}-{number}]"
    return Case(FOLDER / file, name, SimpleNamespace(params=params))


def left(items: list[Any], monkeypatch: pytest.MonkeyPatch, one_in: int = 4) -> list[Any]:
    monkeypatch.setattr(session, "ONE_IN", one_in)
    told: list[Any] = []
    hook = SimpleNamespace(pytest_deselected=lambda items: told.extend(items))
    kept = list(items)
    session.draw(SimpleNamespace(hook=hook), kept, FOLDER)  # type: ignore[arg-type]
    assert sorted(each.nodeid for each in kept + told) == sorted(each.nodeid for each in items)
    return kept


def test_a_share_of_every_test_and_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = ("avx2", "portable")
    items = [case("srm/a.py", "test", number, each) for number in range(40) for each in sets]
    kept = left(items, monkeypatch)
    assert Counter(each.callspec.params["device"] for each in kept) == {"avx2": 10, "portable": 10}
    assert [each for each in items if each in kept] == kept  # in their order
    assert left(items, monkeypatch) == kept
    assert left(items, monkeypatch, 1) == items


def test_a_new_case_changes_no_others_lot(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [case("srm/a.py", "test", number) for number in range(40)]
    before = left(items, monkeypatch)
    after = left([case("srm/a.py", "test", 99), *items], monkeypatch)
    assert len(set(map(id, before)) - set(map(id, after))) <= 1


def test_small_tests_the_harness_and_other_folders_stay_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = [case("srm/a.py", "few", number) for number in range(session.FEW)]
    items += [case("harness/a.py", "test", number) for number in range(40)]
    items += [case("../ops/a.py", "test", number) for number in range(40)]
    for each in items[-40:]:
        each.path = Path("/tests/ops/a.py")
    assert left(items, monkeypatch) == items
