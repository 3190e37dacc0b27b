"""Runs the operators' tests, of every family, with one wheel on several pairs of torch and Python,
each in its own venv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAIRS = (
    ("3.11", ("torch==2.14.1", "torchvision==0.29.1")),
    # The interpreter of this torch's Triton takes arrays of one element for numbers.
    ("3.12", ("torch==2.11.0", "torchvision==0.26.0", "numpy<2.4")),
)
TEST_PACKAGES = (
    *("expecttest", "hypothesis", "numpy", "pillow", "pytest", "pytest-xdist"),
    "tabulate",  # of the benchmarks that tests use
)

# A folder for every family of operators, so that those of a new family are not forgotten.
TESTS = "tests/ops"

# Run in each venv.
SESSION = """
import sys, sysconfig
import pytest, torch, scrn_ops
site = sysconfig.get_paths()["platlib"]
if not scrn_ops.__file__.startswith(site):
    sys.exit(f"scrn_ops comes from {scrn_ops.__file__}, not from the wheel in {site}")
print(f"compat: torch {torch.__version__}, Python {sys.version.split()[0]}, {scrn_ops.__file__}")
sys.exit(pytest.main(sys.argv[1:]))
"""


BINDINGS = """
import sys
sys.path.insert(0, sys.argv[1])
import native_build
native_build.check_bindings()
"""


def session(interpreter: Path, arguments: list[str]) -> tuple[list[str | Path], dict[str, str]]:
    """The command that runs the tests, to be called in the checkout, and its environment."""
    options = ["-q", "-p", "no:cacheprovider", *arguments]
    # Python, and every other that a test starts, would else import the checkout, not the wheel.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    environment.pop("PYTHONPATH", None)
    return [interpreter, "-c", SESSION, *options, TESTS], environment


def find_python(version: str) -> str | None:
    """An interpreter of that version: on PATH, or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python{version}")]
    candidates += [str(p) for p in sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]
    for candidate in filter(None, candidates):
        probe = [candidate, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
        run = subprocess.run(probe, capture_output=True, text=True, check=False)
        if run.returncode == 0 and run.stdout.strip() == version:
            return candidate
    return None


def prepare(python: str, venv: Path, packages: tuple[str, ...]) -> Path:
    """A venv with those packages, made once."""
    interpreter = venv / "bin" / "python"
    wanted, stamp = "\n".join(packages), venv / ".installed"
    if not stamp.is_file() or stamp.read_text() != wanted:
        subprocess.run([python, "-m", "venv", str(venv)], check=True)
        subprocess.run([*pip(interpreter), "install", *packages], check=True)
        stamp.write_text(wanted)
    add_checkout(interpreter)
    return interpreter


def add_checkout(interpreter: Path) -> None:
    """Behind the wheel in the search path: tests use ``benchmarks``, which no wheel holds."""
    where = [interpreter, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    site = subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()
    Path(site, "checkout.pth").write_text(f"{ROOT}\n")


def pip(interpreter: Path) -> list[str]:
    return [str(interpreter), "-m", "pip", "--quiet", "--disable-pip-version-check"]


def main() -> int:
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} WHEEL [argument of pytest ...]")
    wheel = Path(sys.argv[1]).resolve()
    failed = False
    for version, torch in PAIRS:
        name = f"{torch[0]} on Python {version}"
        python = find_python(version)
        if python is None:
            print(f"compat: {name}: not run, no python{version} on PATH or in pyenv")
            continue
        venv = ROOT / "build" / "compat" / f"py{version}-{torch[0].replace('==', '-')}"
        interpreter = prepare(python, venv, (*torch, *TEST_PACKAGES))
        # The wheel was built with one torch's headers; whoever builds may have any other's.
        bindings = [interpreter, "-P", "-c", BINDINGS, str(ROOT / "tools")]
        compiles = subprocess.run(bindings, check=False).returncode == 0
        print(f"compat: {name}: the bindings {'compile' if compiles else 'do NOT compile'}")
        failed |= not compiles
        reinstall = ["install", "--force-reinstall", "--no-deps", str(wheel)]
        subprocess.run([*pip(interpreter), *reinstall], check=True)
        command, environment = session(interpreter, sys.argv[2:])
        run = subprocess.run(command, cwd=ROOT, env=environment, check=False)
        print(f"compat: {name}: {'passed' if run.returncode == 0 else 'FAILED'}")
        failed |= run.returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
