"""What several tests look at and takes long to make."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import skimage
import torch

from scrn.cli import main
from tests.training.command import ROOT

PHOTO = Path(skimage.__file__).parent / "data" / "rocket.jpg"
SHORT_SIDE, SIZE = 180, (180, 269)  # of the photo, 427x640, in the network

Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes a path in the first process that asks for it, for all processes of the run."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def made(name: str, make: Callable[[Path], None]) -> Path:
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (root / name).exists():
                make(root / name)
        return root / name

    return made


@pytest.fixture(scope="session")
def package(once: Once) -> Path:
    """The packaged network by ``scrn export --format aoti``, with what it printed beside it."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")

    def export(path: Path) -> None:
        words = ["export", "--format", "aoti", "--size", *map(str, SIZE), "--output", str(path)]
        with pytest.MonkeyPatch.context() as patch:
            # Half the compiler's time, for some of what calls the kernels, and no kernel.
            patch.setattr("torch._inductor.config.aot_inductor.compile_wrapper_opt_level", "O0")
            assert main(words) == 0

    return once("packaged.pt2", export)


@pytest.fixture(scope="session")
def program(once: Once) -> Path:
    """The program of examples/cpp, built as its page says."""
    for tool in ("cmake", "g++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")

    def build(folder: Path) -> None:
        configure = ["cmake", "-S", ROOT / "examples/cpp", "-B", folder]
        configure.append(f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}")
        for command in (configure, ["cmake", "--build", folder]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if "Could NOT find" in done.stderr:
                shutil.rmtree(folder)
                pytest.skip(done.stderr.partition("Could NOT ")[2].splitlines()[0])
            assert done.returncode == 0, done.stdout + done.stderr

    return once("cpp", build) / "segment"
