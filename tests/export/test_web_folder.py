"""The folder of ``scrn export --format web``: whole, where nothing else was, and from npm."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scrn import cli
from scrn.data.errors import DataError
from scrn.export import web
from scrn.export.web import runtime

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

MADE = {file.name for file in web.PAGE.iterdir()} | {
    web.LICENCES, web.MODEL, web.NETWORK, f"{web.RUNTIME}/{web.NOTICES}",
    *(f"{web.RUNTIME}/{name}" for name in runtime.FILES),
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/scrn"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """What has the names of ONNX Runtime Web's files."""
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    for name in runtime.FILES:
        (folder / "dist" / name).write_text(name)
    return folder


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch, package: Path) -> Any:
    """Writes the page with a network of a few bytes."""
    written = ["one"]

    def export_onnx(saved: object, path: Path) -> None:
        if not written:
            raise ValueError("differs")
        path.write_text(written.pop())

    def call(folder: Path, network: str | None = "one", **options: Any) -> None:
        written[:] = [network] if network else []
        about = {"data": "drawings", "terms": "For tests."}
        saved: Any = SimpleNamespace(
            classes=("a", "b"), colors=[(0, 0, 0)] * 2, short_side=64, about=about,
            mean=(0.5,) * 3, std=(0.5,) * 3,
        )  # fmt: skip
        web.export_web(saved, folder, **{"onnxruntime_web": package} | options)

    monkeypatch.setattr(web, "export_onnx", export_onnx)
    return call


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_written(export: Any, tmp_path: Path) -> None:
    folder = tmp_path / "new/page"
    export(folder)
    assert files(folder) == MADE
    assert list(folder.parent.iterdir()) == [folder]
    assert folder.stat().st_mode & 0o777 == 0o777 & ~_umask()
    licences = (folder / web.LICENCES).read_text()
    assert "learned from drawings: For tests." in licences
    assert "Copyright (c) Microsoft Corporation" in licences
    assert "Apache License 2.0" in licences


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def test_an_earlier_page_is_replaced_and_an_empty_folder_filled(
    export: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    export(folder, "one")
    export(folder, "two")
    assert (folder / web.MODEL).read_text() == "two"
    assert files(folder) == MADE


def test_the_working_directory_is_filled(
    export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page").mkdir()
    monkeypatch.chdir(tmp_path / "page")
    export(Path("."))
    assert files(tmp_path / "page") == MADE
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(("page", "."))] == [
        "page"
    ]


def test_after_an_error_the_earlier_page_is_there(export: Any, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    export(folder, "one")
    before = set(tmp_path.iterdir())
    with pytest.raises(ValueError, match="differs"):
        export(folder, None)
    assert (folder / web.MODEL).read_text() == "one"
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("kind", ["file", "link", "other", "page with a file"])
def test_what_is_no_page_is_left_alone(export: Any, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "page"
    if kind == "file":
        folder.write_text("mine")
    elif kind == "link":
        folder.symlink_to(tmp_path / "elsewhere")
    elif kind == "other":
        folder.mkdir()
        (folder / "index.html").write_text("mine")
    else:
        export(folder)
        (folder / "mine.html").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"page: expected no such file, an empty folder, or a page"):
        export(folder)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_place_where_nothing_can_be_written(export: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="file/page: expected a place where a folder can be made"):
        export(tmp_path / "file/page")


def test_a_package_as_npm_pack_writes_it(export: Any, package: Path, tmp_path: Path) -> None:
    packed = tmp_path / "package.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(package, "package")
    export(tmp_path / "page", onnxruntime_web=packed)
    for name in runtime.FILES:
        assert (tmp_path / "page" / web.RUNTIME / name).read_text() == name


@pytest.mark.parametrize(
    ("content", "found"),
    [("absent", "no such folder"), ("folder", "other files"), ("file", "ReadError")],
)
def test_a_package_of_something_else(tmp_path: Path, content: str, found: str) -> None:
    package = tmp_path / "package"
    if content == "folder":
        package.mkdir()
    elif content == "file":
        package.write_text("mine")
    expected = rf"package: expected the npm package onnxruntime-web@{runtime.VERSION}.*{found}"
    with pytest.raises(DataError, match=expected):
        runtime.runtime_files(package)


def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Puts a command of that name in place of npm."""
    command = tmp_path / "bin/npm"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")


def test_npm_is_asked_once(
    package: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "packed.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(package, "package")
    digest = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
    # npm pack SPEC --loglevel=error --pack-destination FOLDER
    npm(tmp_path, monkeypatch, f'echo "$2" >> {tmp_path}/asked; cp {packed} "$5/"')
    with pytest.raises(ValueError, match=re.escape(f"got sha512-{digest}")):
        runtime.runtime_files()
    assert not list(cache.glob("*"))
    monkeypatch.setattr(runtime, "SHA512", digest)
    for _ in range(2):
        assert [path.read_text() for path in runtime.runtime_files()] == list(runtime.FILES)
    assert (tmp_path / "asked").read_text().split() == [runtime.PACKAGE] * 2
    assert len(list(cache.iterdir())) == 1


def test_npm_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(tmp_path, monkeypatch, "printf 'npm error code E1\\nnpm error no way there\\n' >&2; exit 1")
    with pytest.raises(OSError, match=r"onnxruntime-web PATH .*; got no way there$"):
        runtime.runtime_files()


def test_without_npm_one_line_says_how_to_go_on(
    export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "page"
    assert cli.main(["export", "--format", "web", "--output", str(folder)]) == 1
    said = capsys.readouterr().err
    assert said == (
        f"scrn export: npm: expected the command, which brings {runtime.PACKAGE}, or "
        f"--onnxruntime-web PATH with what npm pack {runtime.PACKAGE} writes elsewhere\n"
    )
    assert not folder.exists()


def test_too_many_classes(tmp_path: Path) -> None:
    saved: Any = SimpleNamespace(classes=("a",) * 257)
    with pytest.raises(ValueError, match="model: expected at most 256 classes, got 257"):
        web.export_web(saved, tmp_path / "page")


def test_the_page_is_part_of_the_package() -> None:
    """The patterns of pyproject.toml find every one of its files."""
    tomllib = pytest.importorskip("tomllib", reason="Python before 3.11")
    root = Path(__file__).resolve().parents[2]
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["scrn"]
    found = {path for pattern in patterns for path in (root / "scrn").glob(pattern)}
    assert set(web.PAGE.iterdir()) <= found
