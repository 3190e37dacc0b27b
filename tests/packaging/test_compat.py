"""What ``make compat`` runs: the tests of every family of operators, with the wheel alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import compat  # noqa: E402


def families() -> set[str]:
    """Of operators: the packages of the library, and those with kernels in C++."""
    packages = {path.parent.name for path in ROOT.glob("scrn_ops/*/__init__.py")}
    kernels = {path.name for path in ROOT.glob("csrc/*/")} - {"common"}
    return {name for name in packages | kernels if not name.startswith("_")}


def test_every_family_runs_and_the_dry_driver_with_them() -> None:
    command, _ = compat.session(Path("python"), ["-k", "x"])
    (folder,) = (ROOT / str(each) for each in command if str(each).startswith("tests/"))
    assert families() >= {"srm", "attention"}
    for family in families():
        assert list(folder.glob(f"{family}/test_*.py")), family
    assert list(folder.glob("attention/dry_driver/test_*.py"))


def test_the_checkout_is_not_what_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor by a process that a test starts."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    _, environment = compat.session(Path("python"), [])
    assert "PYTHONPATH" not in environment
    script = "import os, sys; print(os.getcwd() in [os.path.abspath(p) for p in sys.path])"
    command = [sys.executable, "-S", "-c", script]
    seen = [
        subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        for env in (dict(os.environ), environment)
    ]
    # Python 3.10 knows no such variable, and no pair of `make compat` has it.
    assert [run.stdout.strip() for run in seen] == ["True", str(sys.version_info < (3, 11))]


def test_the_checkout_lies_behind_the_wheel(tmp_path: Path) -> None:
    venv.create(tmp_path)
    interpreter = tmp_path / "bin" / "python"
    compat.add_checkout(interpreter)
    _, environment = compat.session(interpreter, [])
    script = "import json, sys, sysconfig; print(json.dumps([sysconfig.get_paths(), sys.path]))"
    run = subprocess.run(
        [interpreter, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    paths, path = json.loads(run.stdout)
    assert path.index(paths["purelib"]) < path.index(str(ROOT))
