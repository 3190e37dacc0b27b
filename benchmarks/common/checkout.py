"""Where the checkout is, and what git says of it. Imports nothing that may be broken."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHANGED = ", changed"  # behind the commit, where files differ from it


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)


def commit() -> str | None:
    """None where this is no checkout, as after a copy of the files alone."""
    try:
        asked = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except OSError:
        return None
    if asked.returncode or changed.returncode:
        return None
    return asked.stdout.strip() + (CHANGED if changed.stdout.strip() else "")
