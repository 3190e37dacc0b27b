"""FLOP formulas that wait for torch.utils.flop_counter.

Importing that module imports triton, which takes longer than everything here together and is
of use only to who counts FLOPs: the formulas are handed over when somebody imports it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_MODULE = "torch.utils.flop_counter"
_waiting: list[tuple[Any, Callable[..., int]]] = []


def register_flop_formula(operator: Any) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """As the decorator of that name in torch.utils.flop_counter."""

    def register(formula: Callable[..., int]) -> Callable[..., int]:
        _waiting.append((operator, formula))
        if _MODULE in sys.modules and _finder not in sys.meta_path:
            _hand_over(sys.modules[_MODULE])
        return formula

    return register


def _hand_over(counter: ModuleType) -> None:
    while _waiting:
        operator, formula = _waiting.pop()
        counter.register_flop_formula(operator)(formula)


class _Finder(MetaPathFinder):
    """Stands aside for the module's own finder, and hands over when it has been executed."""

    _searching = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _MODULE or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching = False
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_hand_over(module: ModuleType) -> None:
            execute(module)
            # Not before: the module may be searched for without being imported.
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _hand_over(module)

        spec.loader.exec_module = execute_and_hand_over  # type: ignore[method-assign]
        return spec


_finder = _Finder()
if _MODULE not in sys.modules:
    sys.meta_path.insert(0, _finder)
