"""``--format web``: a folder whose page segments photos in the browser, without a server's help."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...data.errors import DataError
from ...engine.weights import SavedModel
from ...models.network import MIN_SIZE
from ..onnx import export_onnx
from ..writing import check_classes, check_free, facts
from .runtime import PACKAGE, runtime_files

PAGE = Path(__file__).with_name("page")
NETWORK, MODEL, RUNTIME, LICENCES = "network.json", "network.onnx", "onnxruntime", "licences.txt"
NOTICES = "ThirdPartyNotices.txt"

_LICENCES = """The page and its scripts: scrn, Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0

The network ({model}), learned from {data}: {terms}

onnxruntime/: ONNX Runtime Web, whose parts by others {notices} names, under this license:

{onnxruntime}"""


def add_arguments(options: Any) -> None:
    options.add_argument(
        "--onnxruntime-web",
        type=Path,
        metavar="PATH",
        help=f"the npm package {PACKAGE}, unpacked or a .tgz (default: by npm, once)",
    )


def run(args: argparse.Namespace, saved: SavedModel) -> None:
    export_web(saved, args.output, onnxruntime_web=args.onnxruntime_web)
    size = sum(file.stat().st_size for file in args.output.rglob("*") if file.is_file())
    print(
        f"{args.output}: {size / 1e6:.1f} MB; python -m http.server -d {args.output}, then "
        "http://localhost:8000"
    )


def export_web(saved: SavedModel, folder: Path, *, onnxruntime_web: Path | None = None) -> None:
    """Writes a page with the network and ONNX Runtime Web, which needs nothing from elsewhere.

    The folder is there as a whole or not at all; an earlier page in its place is replaced.

    Args:
        saved: what :func:`scrn.load_model` gives.
        folder: new, empty, or an earlier page, to which nothing was added.
        onnxruntime_web: the npm package onnxruntime-web, a folder or a .tgz; None asks npm for it,
            and keeps it for the next time.

    Raises:
        ValueError: the folder holds something else, more than 256 classes, no such package, or
            ONNX Runtime's results are not PyTorch's.
        OSError: npm is not there or failed, or the folder cannot be written.
        ModuleNotFoundError: onnx, onnxruntime or onnxscript is not installed.
    """
    check_classes(saved)
    folder = Path(folder).absolute()
    with _in_place_of(folder) as made:
        runtime = runtime_files(onnxruntime_web)
        onnxruntime = _licences_of_onnxruntime()
        for file in PAGE.iterdir():
            shutil.copyfile(file, made / file.name)
        (made / RUNTIME).mkdir()
        for file in (*runtime, onnxruntime / NOTICES):
            shutil.copyfile(file, made / RUNTIME / file.name)
        export_onnx(saved, made / MODEL)
        known = facts(saved)
        text = _LICENCES.format(
            model=MODEL,
            data=known.get("data", "images that its folder does not name"),
            terms=known.get("terms", "its folder names no terms."),
            notices=NOTICES,
            onnxruntime=(onnxruntime / "LICENSE").read_text(),
        )
        (made / LICENCES).write_text(text)
        described = known | {
            "file": MODEL,
            "bytes": (made / MODEL).stat().st_size,
            "short_side": saved.short_side,
            "min_side": MIN_SIZE,
        }
        (made / NETWORK).write_text(json.dumps(described, indent=1) + "\n")


def _licences_of_onnxruntime() -> Path:
    """The folder of the Python package, which has the texts that the npm package leaves out."""
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
    return Path(spec.origin).parent


@contextmanager
def _in_place_of(folder: Path) -> Iterator[Path]:
    """A folder beside it, which takes its place at the end, and is removed after an error."""
    _check_free(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise DataError(
            folder, "a place where a folder can be made", f"{error.strerror}"
        ) from error
    try:
        made = beside / "made"
        made.mkdir()
        yield made
        # Once more, as minutes have passed.
        _check_free(folder)
        earlier = folder.replace(beside / "earlier") if folder.exists() else None
        try:
            made.replace(folder)
        except OSError:
            if earlier is not None:
                earlier.replace(folder)
            raise
    finally:
        shutil.rmtree(beside)


def _check_free(folder: Path) -> None:
    expected = check_free(folder, NETWORK, "a page")
    if folder.is_symlink():
        raise DataError(folder, expected, "a link")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    own = {NETWORK, MODEL, LICENCES, RUNTIME} | {file.name for file in PAGE.iterdir()}
    foreign = sorted(name for name in found if name.partition("/")[0] not in own)
    if foreign:
        raise DataError(folder, expected, f"such a page with other files ({foreign[0]})")
