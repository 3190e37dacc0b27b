"""No module of the project imports, by whatever detour, a module that imports it.

An import inside a function counts: it hides a circle from Python, not from the reader. One that
only the type checker sees does not. A submodule's import of its package's ``__init__`` counts
where it is written; that Python runs the ``__init__`` before every submodule does not. Nor do the
commands that ``scrn.cli`` looks up by their names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("scrn", "scrn_ops", "benchmarks", "examples", "experiments", "tools")
LEVELS = 8  # of the benchmarks' imports
TYPE_CHECKING = ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def modules(root: Path, packages: tuple[str, ...]) -> dict[str, Path]:
    """Every module's dotted name and file."""
    files = [file for package in packages for file in (root / package).rglob("*.py")]
    parts = {file: file.relative_to(root).with_suffix("").parts for file in files}
    return {".".join(p[:-1] if p[-1] == "__init__" else p): file for file, p in parts.items()}


def statements(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports below a node, but for those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test) in TYPE_CHECKING:
            yield from statements(ast.Module(node.orelse, []))
        else:
            yield from statements(node)


def imported(name: str, known: dict[str, Path]) -> set[str]:
    """The project's modules that a module imports."""
    package = name if known[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in statements(ast.parse(known[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        above = package.split(".")[: len(package.split(".")) + 1 - node.level]
        source = ".".join([*(above if node.level else []), *([node.module] if node.module else [])])
        for alias in node.names:
            submodule = f"{source}.{alias.name}"
            found.add(submodule if submodule in known else source)
    return found & known.keys()


def circle(root: Path, packages: tuple[str, ...]) -> str | None:
    """One circle of imports, or None where there is none."""
    known = modules(root, packages)
    try:
        TopologicalSorter({name: imported(name, known) for name in known}).prepare()
    except CycleError as error:
        # In graphlib's order each module is imported by the next one.
        return " imports ".join(reversed(error.args[1]))
    return None


def test_there_is_no_circle() -> None:
    known = modules(ROOT, PACKAGES)
    assert {
        "scrn.models.network",
        "scrn_ops",
        "benchmarks.ops.case",
        "tools.toolkit",
    } <= known.keys()
    assert "scrn.models.decoder" in imported("scrn.models.network", known)
    assert "scrn_ops._core.checks" in imported("scrn_ops.srm.module", known)
    assert (found := circle(ROOT, PACKAGES)) is None, f"a circle of imports: {found}"


def deepest(root: Path, package: str) -> list[str]:
    """The longest chain of the package's own modules, each of which imports the one behind it."""
    known = modules(root, (package,))
    chains: dict[str, list[str]] = {}
    for name in TopologicalSorter({name: imported(name, known) for name in known}).static_order():
        below = (chains[each] for each in imported(name, known))
        chains[name] = [name, *max(below, key=len, default=[])]
    return max(chains.values(), key=len)


def test_the_benchmarks_are_few_levels_deep() -> None:
    chain = deepest(ROOT, "benchmarks")
    assert len(chain) <= LEVELS, " imports ".join(chain)


def test_the_longest_chain_is_found(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    files = {"a": "from . import b, c", "b": "from .c import f", "c": "", "d": "import package.c"}
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    assert deepest(tmp_path, "package") == ["package.a", "package.b", "package.c"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("from . import second", "from .first import f", True),
        ("import package.second", "def f():\n    from package import first", True),
        ("from ..package.second import f", "class A:\n    import package.first", True),
        ("from .second import f", "try:\n    from . import first\nexcept ImportError: pass", True),
        ("from .second import f", "from . import other", True),
        ("from .second import f", "import second, first", False),
        ("from .second import f", "if TYPE_CHECKING:\n    from . import first", False),
        (
            "from .second import f",
            "if typing.TYPE_CHECKING:\n    pass\nelse:\n    from . import first",
            True,
        ),
        ("from .second import f", "from .other import f", False),
    ],
)
def test_a_circle_is_named(tmp_path: Path, first: str, second: str, expected: bool) -> None:
    package = tmp_path / "package"
    package.mkdir()
    # A name that is no module is the package's own.
    files = {"__init__": "from .first import f", "first": first, "second": second}
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    found = circle(tmp_path, ("package",))
    if expected:
        assert found is not None
        assert "package.first imports package.second" in found + found
    else:
        assert found is None
