"""The installed package: what its libraries depend on, and what a broken one says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import scrn_ops
from scrn_ops import doctor
from scrn_ops._core import load

LIBRARIES = sorted(load.PACKAGE.glob("*.so"))
SYSTEM = r"libstdc\+\+\.so\.6|libgcc_s\.so\.1|lib(c|m|dl|rt|pthread)\.so\.\d|ld-linux.*\.so\.\d"
ALLOWED = {
    "libscrn_ops.so": rf"libtorch_cpu\.so|libc10\.so|{SYSTEM}",
    "libscrn_ops_cuda.so": rf"libtorch_cpu\.so|libtorch_cuda\.so|libc10\.so|{SYSTEM}",
}


def run_python(
    directory: Path, *arguments: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Runs Python so that ``scrn_ops`` is imported from ``directory``."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package that a test may break."""
    shutil.copytree(load.PACKAGE, tmp_path / "scrn_ops", ignore=shutil.ignore_patterns("*cache*"))
    return tmp_path


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.name)
def test_libraries_need_neither_python_nor_a_toolkit(library: Path) -> None:
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("readelf is not installed")
    dynamic = subprocess.run([readelf, "-d", library], capture_output=True, text=True, check=True)
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic.stdout)
    assert "libtorch_cpu.so" in needed
    assert [name for name in needed if not re.fullmatch(ALLOWED[library.name], name)] == []
    assert not re.search(r"\((RPATH|RUNPATH)\)", dynamic.stdout)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.name)
def test_torch_is_used_through_its_stable_interface_only(library: Path) -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed")
    symbols = subprocess.run(
        [nm, "-DC", "--undefined-only", library], capture_output=True, text=True, check=True
    )
    names = [line.split()[-1] for line in symbols.stdout.splitlines()]
    assert any(name.startswith("aoti_torch_") for name in names)
    assert [name for name in names if re.match(r"(at|c10|torch|caffe2)::|_?Py", name)] == []


def test_libraries_are_small() -> None:
    assert load.CPU_LIBRARY in LIBRARIES
    assert sum(path.stat().st_size for path in LIBRARIES) < 20e6


def test_doctor_passes_on_a_working_build() -> None:
    run = run_python(load.PACKAGE.parent, "-m", "scrn_ops.doctor", CUDA_VISIBLE_DEVICES="")
    assert run.returncode == 0, run.stdout + run.stderr
    lines = dict(line.split(maxsplit=1) for line in run.stdout.splitlines())
    assert list(lines) == ["scrn_ops", "python", "torch", "build", "cpu", "cuda", "triton"]
    assert torch.__version__ in lines["torch"]
    assert "agree with the reference" in lines["cpu"]
    assert run.stderr == ""


def test_missing_library(copy: Path) -> None:
    (copy / "scrn_ops" / "libscrn_ops.so").unlink()
    run = run_python(copy, "-c", "import scrn_ops")
    assert run.returncode == 1
    message = run.stderr.splitlines()[-1]
    assert message.startswith("ImportError: scrn_ops is not built: libscrn_ops.so is not in")
    assert f"torch {torch.__version__}" in message
    assert "make build" in message


def test_damaged_library(copy: Path) -> None:
    library = copy / "scrn_ops" / "libscrn_ops.so"
    library.write_bytes(b"not a library")
    run = run_python(copy, "-c", "import scrn_ops")
    assert "ImportError: scrn_ops cannot load libscrn_ops.so" in run.stderr
    assert f"torch {torch.__version__}" in run.stderr


def test_old_torch(copy: Path) -> None:
    script = "import torch; torch.__version__ = '2.9.1'; import scrn_ops"
    run = run_python(copy, "-c", script)
    assert "ImportError: scrn_ops needs torch>=2.11" in run.stderr
    assert "torch 2.9.1" in run.stderr
    assert "pip install --upgrade 'torch>=2.11'" in run.stderr


def test_doctor_reports_a_build_that_does_not_load(copy: Path) -> None:
    (copy / "scrn_ops" / "libscrn_ops.so").unlink()
    run = run_python(copy, "-m", "scrn_ops.doctor")
    assert run.returncode == 1
    assert run.stdout.splitlines()[-1].startswith("load      FAILED: scrn_ops is not built")
    assert run.stderr == ""


def test_doctor_reports_kernels_that_cannot_run_here() -> None:
    absent = [name for name in doctor.INSTRUCTION_SETS if not load.cpu_has_instruction_set(name)]
    name = absent[0] if absent else "sse9"
    run = run_python(load.PACKAGE.parent, "-m", "scrn_ops.doctor", SCRN_OPS_CPU=name)
    assert run.returncode == 1
    failure = next(line for line in run.stdout.splitlines() if line.startswith("cpu"))
    assert "FAILED" in failure
    assert name in failure


def test_doctor_reports_wrong_kernels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = scrn_ops.semantic_refine

    def wrong(*arguments: torch.Tensor, backend: str, **options: bool) -> torch.Tensor:
        factor = 1.01 if backend == "fused" else 1.0
        return factor * right(*arguments, backend=backend, **options)

    monkeypatch.setattr("scrn_ops.functional.semantic_refine", wrong)
    assert doctor.main() == 1
    assert re.search(r"^cpu .*FAILED.*differs from the reference", capsys.readouterr().out, re.M)


def test_doctor_reports_a_gradient_that_is_not_a_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = scrn_ops.semantic_refine

    def poisoned(
        low: torch.Tensor,
        offset: torch.Tensor,
        *others: torch.Tensor,
        backend: str,
        **options: bool,
    ) -> torch.Tensor:
        if backend == "fused":
            offset = offset.clone()
            offset.register_hook(lambda gradient: gradient * torch.nan)
        return right(low, offset, *others, backend=backend, **options)

    monkeypatch.setattr("scrn_ops.functional.semantic_refine", poisoned)
    assert doctor.main() == 1
    assert re.search(r"^cpu .*FAILED.*differs from the reference", capsys.readouterr().out, re.M)


def test_torch_without_cuda_leaves_the_cuda_library_alone(copy: Path) -> None:
    (copy / "scrn_ops" / "libscrn_ops_cuda.so").write_bytes(b"not a library")
    check = "from scrn_ops._core import load; print(load.cuda_absence())"
    script = f"import torch; torch.version.cuda = None; import scrn_ops; {check}"
    run = run_python(copy, "-c", script)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == f"torch {torch.__version__} has no CUDA"


def test_build_without_cuda_says_so(copy: Path) -> None:
    (copy / "scrn_ops" / "libscrn_ops_cuda.so").unlink(missing_ok=True)
    check = "from scrn_ops._core import load; print(load.cuda_absence())"
    script = f"import torch; torch.version.cuda = '13.0'; import scrn_ops; {check}"
    run = run_python(copy, "-c", script)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("built without CUDA kernels")
    assert "SCRN_OPS_CUDA=1" in run.stdout


@pytest.mark.parametrize(
    ("architectures", "capability", "served"),
    [
        (["8.0"], (8, 0), True),
        (["8.0"], (8, 9), True),
        (["8.6"], (8, 0), False),
        (["8.0"], (9, 0), False),
        (["8.0+PTX"], (9, 0), True),
        (["8.0", "12.0+PTX"], (9, 0), False),
        (["9.0a"], (9, 0), True),
        (["9.0a"], (10, 0), False),
        (["10.0f"], (10, 3), True),
        (["10.0f"], (12, 0), False),
    ],
)
def test_which_devices_a_build_serves(
    architectures: list[str], capability: tuple[int, int], served: bool
) -> None:
    assert doctor.covers(architectures, *capability) is served
