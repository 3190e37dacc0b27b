"""The C++ program of examples/cpp gives Python's classes, in a process without Python."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scrn.engine.weights import load_model
from tests.training.command import ROOT

from .conftest import PHOTO, SHORT_SIDE, SIZE

pytestmark = pytest.mark.slow


def run(*words: Any, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = list(map(str, words))
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_classes_are_python_s(
    program: Path, package: Path, suffix: str, tmp_path: Path
) -> None:
    photo = tmp_path / f"photo{suffix}"
    if suffix == ".jpg":
        shutil.copy(PHOTO, photo)
    else:
        Image.open(PHOTO).save(photo)
    saved = load_model()
    expected = saved.predict(photo, short_side=SHORT_SIDE).labels
    done = run(program, package, photo, tmp_path / "classes.png", 3)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^\d+\.?\d* ms per image, \d+ threads$", done.stdout, re.MULTILINE)
    classes = Image.open(tmp_path / "classes.png")
    assert (classes.mode, classes.size) == ("P", Image.open(photo).size)
    assert classes.getpalette()[: 3 * len(saved.classes)] == list(np.ravel(saved.colors))
    # Of a JPEG the decoders are two.
    assert (np.array(classes) == expected).mean() > (0.999 if suffix == ".png" else 0.995)


def test_times_beside_python_s(program: Path, package: Path, tmp_path: Path) -> None:
    result = tmp_path / "classes.png"
    shown = run(program, package, PHOTO, result, 20).stdout
    compare = ROOT / "examples/cpp/compare.py"
    source = compare.read_text().replace("TURNS = 20", "TURNS = 3")
    done = run(sys.executable, "-c", source, package, PHOTO, result, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    print(shown + done.stdout)
    shares = re.findall(r"^the .*: (\S+)% of the pixels as in", done.stdout, re.MULTILINE)
    assert len(shares) == 3
    assert min(map(float, shares)) > 99.5
    assert len(re.findall(r"^the .*: \d+\.\d ms, \d+ threads$", done.stdout, re.MULTILINE)) == 3


def test_no_python_is_in_the_process(program: Path, package: Path, tmp_path: Path) -> None:
    command = [program, package, PHOTO, tmp_path / "classes.png", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            # Printed when the package has run.
            assert str(list(SIZE)) in process.stdout.readline()
            maps = Path(f"/proc/{process.pid}/maps").read_text()
        finally:
            process.kill()
    assert "libscrn_ops.so" in maps
    assert "libtorch_cpu.so" in maps
    libraries = {Path(line.split()[-1]).name for line in maps.splitlines() if ".so" in line}
    assert [name for name in libraries if "python" in name.lower()] == []


def test_the_operators_are_missing(program: Path, package: Path, tmp_path: Path) -> None:
    alone = tmp_path / "segment"
    shutil.copy(program, alone)
    done = run(alone, package, PHOTO, tmp_path / "classes.png")
    assert done.returncode == 1
    assert re.search(r"^segment: libscrn_ops\.so: cannot open", done.stderr)
    assert "expected beside this program or in a folder of LD_LIBRARY_PATH" in done.stderr


def test_what_cannot_be_read_or_written_is_named(
    program: Path, package: Path, tmp_path: Path
) -> None:
    text, broken, result = tmp_path / "text.jpg", tmp_path / "broken.png", tmp_path / "classes.png"
    text.write_text("no photo")
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    elsewhere = tmp_path / "none" / "classes.png"
    cut, empty, deep = tmp_path / "cut.jpg", tmp_path / "empty.jpg", tmp_path / "deep.png"
    cut.write_bytes(PHOTO.read_bytes()[: PHOTO.stat().st_size // 2])
    empty.write_bytes(b"\xff\xd8" + bytes(40))
    Image.fromarray(np.zeros((40, 50), np.uint16)).save(deep)
    for arguments, message in (
        ((package, tmp_path / "none.jpg", result), "none.jpg: cannot be opened"),
        ((package, text, result), "text.jpg: expected a JPEG or a PNG"),
        ((package, broken, result), "broken.png: "),
        ((package, cut, result), "cut.jpg: Premature end of JPEG file"),
        ((package, empty, result), "empty.jpg: "),
        ((package, deep, result), "deep.png: expected 8 bits a channel, found 16"),
        ((package, PHOTO, elsewhere), "classes.png: No such file"),
        ((tmp_path / "none.pt2", PHOTO, result), "none.pt2: "),
        ((text, PHOTO, result), "text.jpg: "),
        ((package, PHOTO, result, "many"), "REPEATS: "),
    ):
        done = run(program, *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("segment: "), done.stderr
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert run(program).returncode == 2


def test_the_program_is_short() -> None:
    assert len((ROOT / "examples/cpp/segment.cpp").read_text().splitlines()) < 150
