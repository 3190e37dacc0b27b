"""NVIDIA's cuobjdump, and what it says of a library or a cubin."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ..common.checkout import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import toolkit


class CannotReport(RuntimeError):  # noqa: N818
    """What the report needs is not on this machine; the message says what."""


@functools.cache
def program() -> Path:
    """A toolkit's, else the one that comes with triton."""
    places = [root / "bin" for _, root in toolkit.candidate_roots(os.environ)]
    spec = importlib.util.find_spec("triton")
    if spec is not None and spec.origin is not None:
        places.append(Path(spec.origin).parent / "backends" / "nvidia" / "bin")
    for place in places:
        if (place / "cuobjdump").is_file():
            return place / "cuobjdump"
    raise CannotReport("no cuobjdump: neither a CUDA toolkit with it nor triton is here")


def run(*arguments: str | Path) -> str:
    command = [str(program()), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotReport(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def resources(*arguments: str | Path) -> dict[str, dict[str, int]]:
    """What each kernel of a file needs, as REG, STACK and SHARED."""
    found = re.findall(
        r"^ Function (\S+):\n +(REG:.*)$", run("-res-usage", *arguments), re.MULTILINE
    )
    return {
        name: {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", usage)}
        for name, usage in found
    }


def sections(text: str, heading: str) -> Iterator[tuple[str, list[str]]]:
    """Lines below each heading, which names the kernel that they are about."""
    _, *parts = re.split(f"^{heading}$", text, flags=re.MULTILINE)
    return zip(parts[::2], map(str.splitlines, parts[1::2]), strict=True)
