"""CPU kernels of an instruction set share no function with other translation units."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

OBJECTS = Path(__file__).resolve().parents[2] / "build" / "native" / "obj"
KERNELS = sorted(OBJECTS.glob("*/cpu/kernels_*.o"))


@pytest.mark.skipif(not KERNELS or not shutil.which("nm"), reason="no objects of a build, or no nm")
@pytest.mark.parametrize("path", KERNELS, ids=lambda path: "/".join(path.parts[-3:]))
def test_nothing_is_left_to_the_linker_to_merge(path: Path) -> None:
    """Of a weak function the linker keeps one copy for all, which might be that for AVX-512."""
    run = subprocess.run(["nm", "-C", str(path)], capture_output=True, text=True, check=True)
    symbols = [line for line in run.stdout.splitlines() if line[17:18] in tuple("WVu")]
    assert not symbols
