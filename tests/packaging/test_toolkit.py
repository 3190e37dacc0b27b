"""Finding a CUDA toolkit and reading the list of architectures, with toolkits made of files."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import native_build  # noqa: E402
import toolkit  # noqa: E402
from toolkit import Architecture, BuildError, Toolkit, parse_architectures  # noqa: E402

NVCC = """#!/bin/sh
case "$1" in
  --version) echo "Cuda compilation tools, release {version}, V{version}.88" ;;
  --list-gpu-code) printf 'sm_80\\nsm_86\\nsm_90\\n' ;;
  *) echo '#$ TOP={root}/bin/..' >&2 ;;
esac
"""


def make_toolkit(root: Path, version: str = "12.4", headers: bool = True) -> Path:
    (root / "bin").mkdir(parents=True)
    nvcc = root / "bin" / "nvcc"
    nvcc.write_text(NVCC.format(version=version, root=root))
    nvcc.chmod(0o755)
    if headers:
        (root / "include").mkdir()
        (root / "include" / "cuda.h").touch()
    return root


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """An environment without any toolkit, this machine's own ones hidden."""
    monkeypatch.setattr(toolkit, "LOCAL", tmp_path / "local")
    return {"PATH": str(tmp_path / "nothing")}


def test_toolkit_by_cuda_home(bare: dict[str, str], tmp_path: Path) -> None:
    root = make_toolkit(tmp_path / "cuda")
    found, line = toolkit.find_toolkit({**bare, "CUDA_HOME": str(root)})
    assert found == Toolkit(root, "12.4", (80, 86, 90))
    assert "CUDA_HOME" in line
    assert str(root) in line


def test_toolkit_behind_a_wrapper_on_path(bare: dict[str, str], tmp_path: Path) -> None:
    root = make_toolkit(tmp_path / "cuda")
    wrapper = tmp_path / "wrappers" / "nvcc"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {root}/bin/nvcc "$@"\n')
    wrapper.chmod(0o755)
    found, line = toolkit.find_toolkit({**bare, "PATH": f"{wrapper.parent}:/bin:/usr/bin"})
    assert found is not None
    assert found.root == root
    assert "PATH" in line


def test_newest_local_toolkit_wins(bare: dict[str, str], tmp_path: Path) -> None:
    make_toolkit(tmp_path / "local" / "cuda-9.2", "9.2")
    make_toolkit(tmp_path / "local" / "cuda-12.10", "12.10")
    make_toolkit(tmp_path / "local" / "cuda-12.4", "12.4")
    found, _ = toolkit.find_toolkit(bare)
    assert found is not None
    assert found.version == "12.10"


def test_wheels_are_the_last_resort(bare: dict[str, str], tmp_path: Path) -> None:
    wheel = make_toolkit(tmp_path / "nvidia" / "cu13", "13.0")
    found, _ = toolkit.find_toolkit(bare, [wheel])
    assert found is not None
    assert found.root == wheel
    local = make_toolkit(tmp_path / "local" / "cuda-12.4", "12.4")
    found, _ = toolkit.find_toolkit(bare, [wheel])
    assert found is not None
    assert found.root == local


def test_wrong_cuda_home_is_mentioned(bare: dict[str, str], tmp_path: Path) -> None:
    make_toolkit(tmp_path / "local" / "cuda-12.4")
    found, line = toolkit.find_toolkit({**bare, "CUDA_HOME": str(tmp_path / "gone")})
    assert found is not None
    assert f"(CUDA_HOME={tmp_path / 'gone'} has no headers or no nvcc)" in line


def test_compiler_without_headers_is_no_toolkit(bare: dict[str, str], tmp_path: Path) -> None:
    root = make_toolkit(tmp_path / "cuda", headers=False)
    found, line = toolkit.find_toolkit({**bare, "CUDA_HOME": str(root)})
    assert found is None
    assert "headers" in line
    assert str(root) in line


@pytest.mark.parametrize(("request_", "toolkit_there"), [("0", True), ("0", False), ("", False)])
def test_cpu_build_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request_: str, toolkit_there: bool
) -> None:
    found = Toolkit(tmp_path, "13.0", (90,)) if toolkit_there else None
    monkeypatch.setattr(native_build, "find_toolkit", lambda **_: (found, "no CUDA toolkit"))
    chosen, reason = native_build.choose_toolkit(request_, [])
    assert chosen is None
    assert reason == ("SCRN_OPS_CUDA=0" if request_ == "0" else "no CUDA toolkit")


def test_requested_cuda_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_build, "find_toolkit", lambda **_: (None, "no CUDA toolkit"))
    with pytest.raises(BuildError, match="SCRN_OPS_CUDA=1, but no CUDA toolkit"):
        native_build.choose_toolkit("1", [])
    with pytest.raises(BuildError, match="expected 0 or 1, got 'yes'"):
        native_build.choose_toolkit("yes", [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.0 9.0+PTX", ["8.0", "9.0+PTX"]),
        ("9.0;8.0", ["8.0", "9.0"]),
        ("9.0a, 9.0", ["9.0", "9.0a"]),
        ("9.0 9.0+PTX 9.0", ["9.0+PTX"]),
        ("Ampere;Hopper", ["8.0", "8.6+PTX", "9.0+PTX"]),
        ("10.0f 12.0", ["10.0f", "12.0"]),
    ],
)
def test_architecture_list(text: str, expected: list[str]) -> None:
    assert [str(each) for each in parse_architectures(text)] == expected


@pytest.mark.parametrize("text", ["sm_90", "9", "9.0+ptx", "8.0 native"])
def test_unknown_architecture_is_named(text: str) -> None:
    with pytest.raises(BuildError, match=r"TORCH_CUDA_ARCH_LIST: expected words such as 9\.0"):
        parse_architectures(text)


def test_architecture_flags() -> None:
    assert Architecture(90, "a").flags() == ["-gencode=arch=compute_90a,code=sm_90a"]
    assert Architecture(75).flags() == ["-gencode=arch=compute_75,code=sm_75"]
    assert Architecture(89).flags() == ["-gencode=arch=compute_80,code=sm_89"]
    assert Architecture(120, ptx=True).flags() == [
        "-gencode=arch=compute_90,code=sm_120",
        "-gencode=arch=compute_90,code=compute_90",
    ]


def test_sources_tell_no_other_architectures_apart() -> None:
    """Code for a newer one would be left out of the library without a word."""
    sources = [path for path in (ROOT / "csrc").rglob("*") if path.suffix in (".h", ".cu", ".cuh")]
    text = "\n".join(path.read_text() for path in sources)
    asked = re.findall(r"__CUDA_ARCH__\s*(\S+)\s*(\d+)", text)
    assert asked
    assert all(how == ">=" and int(number) // 10 in toolkit.TOLD_APART for how, number in asked)


def test_default_architectures_end_in_ptx(tmp_path: Path) -> None:
    newest = Toolkit(tmp_path, "13.0", (75, 80, 86, 89, 90, 100, 120))
    names = [str(each) for each in toolkit.architectures_for(newest, {})]
    assert names == ["8.0", "8.6", "8.9", "9.0", "10.0", "12.0+PTX"]
    older = Toolkit(tmp_path, "12.0", (80, 86, 89, 90))
    names = [str(each) for each in toolkit.architectures_for(older, {})]
    assert names == ["8.0", "8.6", "8.9", "9.0+PTX"]
    asked = toolkit.architectures_for(older, {"TORCH_CUDA_ARCH_LIST": "8.6"})
    assert [str(each) for each in asked] == ["8.6"]
    with pytest.raises(BuildError, match="compiles for none of"):
        toolkit.architectures_for(Toolkit(tmp_path, "10.2", (70,)), {})


@pytest.mark.parametrize(
    ("found", "known", "warns"), [("13.0", "12.8", True), ("12.1", "12.8", False)]
)
def test_newer_toolkit_than_torch_knows_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], found: str, known: str, warns: bool
) -> None:
    native_build.warn_of_newer_toolkit(make_plan(tmp_path, found, known))
    text = f"CUDA {found} is newer than torch's {known}"
    assert (text in capsys.readouterr().out) == warns


def make_plan(root: Path, found: str = "12.4", known: str = "13.0") -> native_build.Plan:
    return native_build.Plan(
        torch=native_build.Torch(root / "site-packages" / "torch", "2.14.1", known),
        toolkit=Toolkit(root / "cuda", found, (80,)),
        architectures=(),
        cuda_reason="",
        werror=False,
        x86=True,
        cxx="g++",
    )


def test_toolkit_headers_come_before_the_wheels(tmp_path: Path) -> None:
    own = make_toolkit(tmp_path / "cuda")
    site = tmp_path / "site-packages"
    wheel = site / "nvidia" / "cu13" / "include"
    for directory in (own / "include", wheel):
        for header in toolkit.KERNEL_HEADERS:
            (directory / header).parent.mkdir(parents=True, exist_ok=True)
            (directory / header).touch()
    plan = make_plan(tmp_path)
    assert native_build.include_flags(plan) == [f"-isystem {own / 'include'}"]
    (own / "include" / "cuda_fp16.h").unlink()
    assert native_build.include_flags(plan) == [f"-isystem {own / 'include'}", f"-isystem {wheel}"]
    (wheel / "cuda_fp16.h").unlink()
    with pytest.raises(BuildError, match=r"lacks cuda_fp16\.h"):
        native_build.include_flags(plan)
