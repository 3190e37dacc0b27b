"""Compiles the CUDA kernels for the CPU into Python modules, cached by content.

An object is compiled again only when its command or a file that it includes has changed, wherever
the sources lie: a copy of ``csrc`` with one change costs what depends on that change.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent
ROOT = FOLDER.parent.parent
CACHE = ROOT / "build" / "cuda_on_cpu"
MODULE = "cuda_on_cpu_module"
COMPILER = os.environ.get("CXX", "g++")

sys.path.insert(0, str(ROOT / "tools"))
import toolkit  # noqa: E402

# `count` counts the basic blocks that kernels execute.
HEADERS = ("cuda_fp16.h", "cuda_bf16.h", "crt/host_defines.h", "nv/target")

SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=0",
    "TSAN_OPTIONS": "halt_on_error=0:exitcode=0:history_size=4",
}
SANITIZER_FLAGS = {
    "plain": [],
    # Not optimised: the compiler takes half as long, and the tests no longer.
    "asan": [
        "-O0",
        "-fsanitize=address,undefined,float-cast-overflow",
        "-fsanitize-recover=all",
        "-fno-sanitize=vptr",
    ],
    "tsan": ["-fsanitize=thread"],
    # As the source has it, not as an optimiser of some version arranges it.
    "count": ["-O0", "-fsanitize-coverage=trace-pc"],
}


class CannotBuild(RuntimeError):  # noqa: N818
    """Something that compiling for the CPU needs is not on this machine; the message says what."""


class BuildFailure(RuntimeError):  # noqa: N818
    """The compiler refused a source; the message is its output."""


@cache
def header_dirs() -> tuple[Path, ...]:
    """Directories with CUDA's half types: a toolkit's, else those of NVIDIA's wheels."""
    site = Path(sysconfig.get_paths()["platlib"])
    roots = [place for _, place in toolkit.candidate_roots(os.environ)]
    if os.environ.get("SCRN_CUDA_HEADERS") == "wheels":
        roots = []
    wheels = [*sorted(site.glob("nvidia/cu[0-9]*"), reverse=True), *site.glob("nvidia/cuda_*")]
    groups = [[root] for root in roots] + [[*roots, *wheels]]
    for group in groups:
        places = [place for root in group for place in include_dirs(root)]
        if all(any((place / header).is_file() for place in places) for header in HEADERS):
            return tuple(places)
    raise CannotBuild(
        "no CUDA headers: neither a toolkit nor the packages nvidia-cuda-runtime, "
        "nvidia-cuda-crt and nvidia-cuda-cccl are here"
    )


def include_dirs(root: Path) -> list[Path]:
    candidates = [root / "include", *root.glob("targets/*/include")]
    found = [place for place in candidates if place.is_dir()]
    return found + [place / "cccl" for place in found if (place / "cccl").is_dir()]


@cache
def compiler_version() -> str:
    if platform.machine() not in ("x86_64", "AMD64"):
        raise CannotBuild(f"the fibers are written for x86-64, this is {platform.machine()}")
    if importlib.util.find_spec("pybind11") is None:
        raise CannotBuild("the package pybind11 is not installed")
    try:
        run = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotBuild(f"no C++ compiler {COMPILER!r}: {error}") from error
    return run.stdout


def python_dirs() -> list[Path]:
    import pybind11

    return [Path(pybind11.get_include()), Path(sysconfig.get_paths()["include"])]


def local_includes(source: Path, search: tuple[Path, ...]) -> list[Path]:
    """The source and every file that it includes by quotes, in a fixed order."""
    found: dict[Path, None] = {}
    pending = [source]
    while pending:
        path = pending.pop()
        if path in found:
            continue
        found[path] = None
        for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.MULTILINE):
            for place in (path.parent, *search):
                target = (place / name).resolve()
                if target.is_file():
                    pending.append(target)
                    break
    return list(found)


@dataclass(frozen=True)
class Object:
    """One translation unit and the flags it is compiled with."""

    source: Path
    flags: tuple[str, ...]
    search: tuple[Path, ...] = ()
    forced: tuple[Path, ...] = ()

    def command(self, output: Path) -> list[str]:
        includes = [f"-I{place}" for place in self.search]
        # The same object wherever the sources lie.
        includes += [f"-ffile-prefix-map={place}={place.name}" for place in self.search]
        forced = [part for path in self.forced for part in ("-include", str(path))]
        language = ["-x", "c++", str(self.source)]
        return [COMPILER, *self.flags, *includes, *forced, "-c", "-o", str(output), *language]

    def key(self) -> str:
        digest = hashlib.sha256(compiler_version().encode())
        digest.update(" ".join(self.flags).encode())
        for root in (self.source, *self.forced):
            for path in local_includes(root, self.search):
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()[:32]

    def compile(self) -> Path:
        output = CACHE / "objects" / f"{self.source.stem}-{self.key()}.o"
        if not output.is_file():
            output.parent.mkdir(parents=True, exist_ok=True)
            partial = output.with_suffix(f".{os.getpid()}.tmp")
            run_compiler(self.command(partial))
            partial.rename(output)
        return output


def run_compiler(command: list[str]) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode < 0:
        raise RuntimeError(f"{command[0]}: ended by signal {-run.returncode}, and refused nothing")
    if run.returncode != 0:
        raise BuildFailure(f"{' '.join(command)}\n{run.stdout}{run.stderr}")


def runtime_objects(kind: str) -> list[Object]:
    """The runtime is never instrumented: to a sanitizer it is the hardware."""
    flags = [*common_flags(), "-std=c++20", "-O2", "-fvisibility=hidden"]
    flags += [] if kind == "plain" else [f"-DSCRN_ON_CPU_{kind.upper()}"]
    return [Object(path, tuple(flags)) for path in sorted((HERE / "runtime").glob("*.cpp"))]


def common_flags() -> list[str]:
    system = [f"-isystem{place}" for place in header_dirs()]
    return ["-fPIC", "-g1", "-Wall", "-Wextra", *system]


def binding_object() -> Object:
    python = [f"-isystem{place}" for place in python_dirs()]
    flags = [*common_flags(), *python, "-std=c++20", "-O0", "-fvisibility=hidden"]
    return Object(HERE / "bindings" / f"{MODULE}.cpp", tuple(flags))


def kernel_object(source: Path, kind: str, csrc: Path) -> Object:
    flags = [*common_flags(), "-std=c++17", "-O1", "-ffp-contract=off", "-fno-omit-frame-pointer"]
    flags += ["-Wno-unknown-pragmas", "-DSCRN_CUDA_ON_CPU", *SANITIZER_FLAGS[kind]]
    return Object(source, tuple(flags), (csrc,), (HERE / "runtime" / "cuda_on_cpu.h",))


@cache
def families() -> tuple[str, ...]:
    """The folders beside this one that have kernels to run, each with a module of its own."""
    folders = {path.parent.parent for path in FOLDER.glob("*/kernels/*.cu")}
    return tuple(sorted(folder.name for folder in folders - {HERE}))


def kernel_objects(name: str, kind: str, csrc: Path, units: Sequence[str] = ()) -> list[Object]:
    """Those of a family, or of `harness`, which prove the harness; only `units` if any."""
    sources = sorted((FOLDER / name / "kernels").glob("*.cu"))
    return [
        kernel_object(source, kind, csrc.resolve())
        for source in sources
        if not units or source.stem in units
    ]


def build(
    name: str,
    kind: str,
    csrc: Path = ROOT / "csrc",
    jobs: int | None = None,
    units: Sequence[str] = (),
) -> Path:
    """Path of the module, compiled where that was needed.

    Raises:
        CannotBuild: this machine lacks what compiling needs.
        BuildFailure: a source does not compile.
    """
    objects = kernel_objects(name, kind, csrc, units)
    objects += [binding_object(), *runtime_objects(kind)]
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        paths = sorted(pool.map(Object.compile, objects))
    digest = hashlib.sha256(" ".join(path.name for path in paths).encode()).hexdigest()[:32]
    module = CACHE / "modules" / kind / digest / f"{MODULE}.so"
    if not module.is_file():
        module.parent.mkdir(parents=True, exist_ok=True)
        partial = module.with_suffix(f".{os.getpid()}.tmp")
        sanitizer = [flag for flag in SANITIZER_FLAGS[kind] if "coverage" not in flag]
        link = [COMPILER, "-shared", "-o", str(partial), *map(str, paths), *sanitizer, "-ldl"]
        run_compiler(link)
        partial.rename(module)
    return module


def load(path: Path) -> ModuleType:
    """Imports a module from where `build` put it."""
    # pybind11 keeps modules by their full name.
    name = f"{path.parent.name}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def preload(kind: str) -> dict[str, str]:
    """Environment in which Python can import a module of that kind; reports go to a log."""
    names = {"asan": "libasan.so", "tsan": "libtsan.so"}
    if kind not in names:
        return {}
    # libstdc++, since the sanitizer looks for what it wraps before any module is loaded.
    libraries = []
    for name in (names[kind], "libstdc++.so.6"):
        find = [COMPILER, f"-print-file-name={name}"]
        path = subprocess.run(find, capture_output=True, text=True, check=True).stdout.strip()
        if not Path(path).is_file():
            raise CannotBuild(f"{COMPILER} has no {name}")
        libraries.append(str(Path(path).resolve()))
    return {"LD_PRELOAD": ":".join(libraries)}


def environment(kind: str, log: Path) -> dict[str, str]:
    """For a Python that runs the tests in that build, the sanitizer's reports going to `log`."""
    return {
        **{name: f"{value}:log_path={log}" for name, value in SANITIZER_OPTIONS.items()},
        **preload(kind),
        "SCRN_CUDA_ON_CPU_KIND": kind,
        "SCRN_CUDA_ON_CPU_LOG": str(log),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
