"""The files of ONNX Runtime Web that the page needs, from npm or from a folder."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ...data.errors import DataError, reading

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web@{VERSION}"
# As `npm pack --json` says it: what is downloaded is what was tested.
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# The build for WebAssembly alone, with its loader inside.
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
_BY_HAND = f"or --onnxruntime-web PATH with what npm pack {PACKAGE} writes elsewhere"


def runtime_files(package: Path | None = None) -> list[Path]:
    """The paths of :data:`FILES`.

    Args:
        package: the npm package, unpacked or as a .tgz; None takes the one that was downloaded
            before, and downloads it at first.
    """
    kept = _cache() / f"onnxruntime-web-{VERSION}"
    if package is None:
        if not all((kept / name).is_file() for name in FILES):
            _download(kept)
        return [kept / name for name in FILES]
    if package.is_file():
        digest = hashlib.sha256(package.read_bytes()).hexdigest()[:16]
        unpacked = _cache() / f"onnxruntime-web-{digest}"
        if not all((unpacked / name).is_file() for name in FILES):
            _unpack(package, unpacked)
        return [unpacked / name for name in FILES]
    for folder in (package / "dist", package):
        if all((folder / name).is_file() for name in FILES):
            return [folder / name for name in FILES]
    expected = f"the npm package {PACKAGE}, with dist/{' and dist/'.join(FILES)}"
    raise DataError(package, expected, "other files" if package.is_dir() else "no such folder")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scrn"


def _download(kept: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(f"npm: expected the command, which brings {PACKAGE}, {_BY_HAND}")
    with tempfile.TemporaryDirectory() as temporary:
        command = [npm, "pack", PACKAGE, "--loglevel=error", "--pack-destination", temporary]
        done = subprocess.run(command, cwd=temporary, capture_output=True, text=True)
        packed = sorted(Path(temporary).glob("*.tgz"))
        if done.returncode or not packed:
            raise OSError(
                f"npm: expected {PACKAGE}, {_BY_HAND}; got {_reason(done.stderr.splitlines())}"
            )
        found = base64.b64encode(hashlib.sha512(packed[0].read_bytes()).digest()).decode()
        if found != SHA512:
            raise ValueError(f"npm: expected {PACKAGE} of sha512-{SHA512}, got sha512-{found}")
        _unpack(packed[0], kept)


def _reason(lines: Sequence[str]) -> str:
    told = [line.removeprefix("npm error").strip() for line in lines]
    return next((line for line in told if line and not line.startswith("code ")), "no package")


def _unpack(packed: Path, folder: Path) -> None:
    """Takes the files from the package into the folder, which is whole or absent."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        with (
            reading(packed, f"the npm package {PACKAGE} as npm pack writes it"),
            tarfile.open(packed) as archive,
        ):
            for name in FILES:
                content = archive.extractfile(f"package/dist/{name}")
                assert content is not None
                with content, (made / name).open("wb") as file:
                    shutil.copyfileobj(content, file)
        shutil.rmtree(folder, ignore_errors=True)
        made.replace(folder)
