"""The suites: each is a package here, named for a family and for what its mistakes are in."""

import importlib
import pkgutil

from ..engine.suite import Suite


def _find() -> dict[str, Suite]:
    found = {}
    for module in pkgutil.iter_modules(__path__):
        if module.ispkg:
            found[module.name] = importlib.import_module(f".{module.name}", __name__).SUITE
    return dict(sorted(found.items()))


SUITES = _find()
