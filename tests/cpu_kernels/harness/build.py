"""Compiles a family's CPU kernels, without torch, into a library that ctypes loads.

Objects are cached by content, as those of the CUDA kernels on the CPU are. A mistake that is
planted in a copy of ``csrc`` need not be compiled for every instruction set: what is not in `sets`
comes from the sources without it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.cuda_on_cpu.harness.build import COMPILER, ROOT, Object, run_compiler

sys.path.insert(0, str(ROOT / "tools"))
import native_build

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent
CSRC = ROOT / "csrc"
CACHE = ROOT / "build" / "cpu_kernels"
AVX2 = {"avx2", "fma", "f16c"}
# What the processor must have for it, as /proc/cpuinfo calls it.
NEEDED: dict[str, set[str]] = {
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"} | AVX2,
    "avx2": AVX2,
    "portable": set(),
}
SETS = tuple(NEEDED)

FLAGS = ("-std=c++17", "-fPIC", "-g1", "-fvisibility=hidden", "-Wall", "-Wextra")
FLAGS += ("-fno-math-errno", "-fno-trapping-math")
# The library's own level is that of tests/ops; the lowest compiles in a third of the time.
KIND_FLAGS = {
    "plain": ("-O0",),
    "asan": (
        "-O1",
        "-fno-omit-frame-pointer",
        "-fsanitize=address,undefined,float-cast-overflow",
        "-fsanitize-recover=all",
        "-fno-sanitize=vptr",
    ),
}


def families() -> tuple[str, ...]:
    """The folders beside this one that have entries to call, each with a library of its own."""
    return tuple(sorted(path.parent.parent.name for path in FOLDER.glob("*/kernels/entries.cpp")))


def available() -> list[str]:
    """The instruction sets that this machine has and SCRN_CPU_KERNELS_SETS does not leave out."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.is_file() else set()
    wanted = os.environ.get("SCRN_CPU_KERNELS_SETS", ",".join(SETS)).split(",")
    return [name for name in SETS if name in wanted and flags >= NEEDED[name]]


def set_of(source: Path) -> str:
    """The instruction set that a source is compiled for, or nothing."""
    return next((each for each in SETS if source.stem.endswith(f"_{each}")), "")


def objects(family: str, kind: str, csrc: Path = CSRC, sets: Sequence[str] = SETS) -> list[Object]:
    sources = [*(csrc / "common" / "cpu").glob("*.cpp"), *(csrc / family / "cpu").glob("*.cpp")]
    sources = [
        CSRC / source.relative_to(csrc) if set_of(source) not in ("", *sets) else source
        for source in sources
    ]
    tests = [HERE / "module.cpp", FOLDER / family / "kernels" / "entries.cpp"]
    return [_object(source, kind, csrc) for source in sorted([*sources, *tests])]


def _object(source: Path, kind: str, csrc: Path) -> Object:
    simd = next((f for end, f in native_build.SIMD_FLAGS.items() if source.name.endswith(end)), "")
    flags = (*FLAGS, *KIND_FLAGS[kind], *simd.split())
    search = CSRC if source.is_relative_to(CSRC) else csrc
    return Object(source, flags, (search.resolve(),))


def build(
    family: str,
    kind: str,
    csrc: Path = CSRC,
    sets: Sequence[str] = SETS,
    jobs: int | None = None,
) -> Path:
    """Path of the library, compiled where that was needed.

    Raises:
        CannotBuild: this machine lacks what compiling needs.
        BuildFailure: a source does not compile.
    """
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        paths = sorted(pool.map(Object.compile, objects(family, kind, csrc, sets)))
    digest = hashlib.sha256(" ".join(path.name for path in paths).encode()).hexdigest()[:32]
    library = CACHE / kind / digest / f"{family}.so"
    if not library.is_file():
        library.parent.mkdir(parents=True, exist_ok=True)
        partial = library.with_suffix(f".{os.getpid()}.tmp")
        sanitizers = [flag for flag in KIND_FLAGS[kind] if flag.startswith("-fsanitize")]
        run_compiler([COMPILER, "-shared", "-o", str(partial), *map(str, paths), *sanitizers])
        partial.rename(library)
    return library
