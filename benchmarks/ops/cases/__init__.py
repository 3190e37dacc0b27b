"""Every family of ops that is measured: each module here, in the order of their names."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

from ..case import Case, Family, Op

FAMILIES: dict[str, Family] = {
    name: importlib.import_module(f"{__name__}.{name}").FAMILY
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__))
}


def operations() -> dict[str, Op]:
    return {name: op for family in FAMILIES.values() for name, op in family.ops.items()}


def quick() -> Iterator[Case]:
    """Those with targets come first: what the time is not enough for is left out."""
    for family in sorted(FAMILIES.values(), key=lambda family: not family.bars):
        yield from family.quick()


def full(device: str) -> Iterator[Case]:
    """The quick cases and then every family's own."""
    own = (case for family in FAMILIES.values() for case in family.full(device))
    yield from dict.fromkeys((*quick(), *own))


def case_of(read: Mapping[str, Any]) -> Case:
    """Raises:
    ValueError: the op is no family's.
    """
    for family in FAMILIES.values():
        if read["op"] in family.ops:
            return family.case.from_json(read)
    raise ValueError(f"op: expected one of {sorted(operations())}, got {read['op']!r}")
