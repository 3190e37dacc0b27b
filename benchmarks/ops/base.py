"""The same cases with the ops of another commit, through a worktree of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..common.checkout import ROOT, git
from .results import Document

COMPILED = ("csrc", "setup.py", "tools")
MEASURING = ("benchmarks", "tools")  # the kernel report reads the latter


def measure(revision: str, arguments: Sequence[str], device: str) -> Document:
    """Runs this benchmark's cases, with ``arguments``, on the packages of that commit.

    Raises:
        RuntimeError: there is no such commit, it does not build, or the run failed.
    """
    with _worktree(revision) as tree:
        _build(tree, revision, device)
        # This commit's benchmark beside the other's packages.
        for name in MEASURING:
            shutil.rmtree(tree / name, ignore_errors=True)
            shutil.copytree(ROOT / name, tree / name)
        out = tree / "out"
        # A row that was refused there is in the document; without one there was no run.
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", *arguments, "--out", str(out)],
            cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        path = out / "results.json"
        if not path.is_file():
            raise RuntimeError(f"{revision}: the benchmark failed there:\n{done.stdout[-2000:]}")
        read = Document.load(path)
    read.environment["commit"] = revision
    return read


@contextmanager
def _worktree(revision: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        done = git("worktree", "add", "--detach", str(tree), revision)
        if done.returncode:
            raise RuntimeError(f"{revision}: {done.stderr.strip().splitlines()[-1]}")
        try:
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def _build(tree: Path, revision: str, device: str) -> None:
    """Compiles there, unless what is compiled is the same as here."""
    if git("diff", "--quiet", revision, "--", *COMPILED).returncode == 0:
        for path in (*(ROOT / "scrn_ops").glob("*.so"), ROOT / "scrn_ops" / "_build_info.json"):
            if path.is_file():
                shutil.copy2(path, tree / "scrn_ops" / path.name)
        return
    environment = dict(os.environ)
    if device == "cpu":
        environment["SCRN_OPS_CUDA"] = "0"
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{revision}: the build failed there:\n{done.stderr[-2000:]}")
