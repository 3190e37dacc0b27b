"""Finds a CUDA toolkit by its headers and decides for which architectures to compile."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ARCHITECTURES = "8.0 8.6 8.9 9.0 10.0 12.0+PTX"

# The headers that the kernels and their launchers include, directly or through one another.
KERNEL_HEADERS = ("cuda_runtime.h", "cuda_fp16.h", "cuda_bf16.h", "crt/host_config.h", "nv/target")

LOCAL = Path("/usr/local")

NAMED_ARCHITECTURES = {
    "Volta": "7.0+PTX",
    "Turing": "7.5+PTX",
    "Ampere": "8.0;8.6+PTX",
    "Ada": "8.9+PTX",
    "Hopper": "9.0+PTX",
    "Blackwell": "10.0;10.3;12.0;12.1+PTX",
}


class BuildError(RuntimeError):
    """The build cannot be done as asked; the message says what to do."""


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit: where it is, its version and the sm_XX it can compile for."""

    root: Path
    version: str
    codes: tuple[int, ...]

    @property
    def nvcc(self) -> Path:
        return self.root / "bin" / "nvcc"

    def include_dirs(self) -> list[Path]:
        candidates = [self.root / "include", *sorted(self.root.glob("targets/*/include"))]
        found = [path for path in candidates if path.is_dir()]
        return found + [path / "cccl" for path in found if (path / "cccl").is_dir()]

    def library_dirs(self) -> list[Path]:
        names = ("lib64", "lib", "targets/*/lib")
        return [path for name in names for path in sorted(self.root.glob(name)) if path.is_dir()]

    def missing_headers(self) -> list[str]:
        return [
            header
            for header in KERNEL_HEADERS
            if not any((path / header).is_file() for path in self.include_dirs())
        ]


def has_headers(root: Path) -> bool:
    places = [root / "include", *root.glob("targets/*/include")]
    return any((place / "cuda.h").is_file() for place in places)


def root_behind(nvcc: str) -> Path | None:
    """The toolkit an ``nvcc`` command belongs to, which may be a wrapper script elsewhere."""
    try:
        run = subprocess.run(
            [nvcc, "-v", "--dryrun", "unused.cu"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    match = re.search(r"^#\$ TOP=(.+)$", run.stderr, re.MULTILINE)
    return Path(match.group(1).strip()).resolve() if match else None


def candidate_roots(
    environ: Mapping[str, str], wheel_roots: Iterable[Path] = ()
) -> list[tuple[str, Path]]:
    """Where a toolkit may be, best first, each with the words that name the place."""
    roots: list[tuple[str, Path]] = []
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if environ.get(variable):
            roots.append((f"{variable}={environ[variable]}", Path(environ[variable])))
    nvcc = shutil.which("nvcc", path=environ.get("PATH"))
    behind = root_behind(nvcc) if nvcc else None
    if behind is not None:
        roots.append((f"nvcc on PATH ({nvcc})", behind))
    by_version = sorted(
        LOCAL.glob("cuda-*"),
        key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)],
        reverse=True,
    )
    roots += [(str(path), path) for path in [LOCAL / "cuda", *by_version]]
    roots += [(f"the wheels' {root}", root) for root in wheel_roots]
    return roots


def probe(root: Path) -> Toolkit | None:
    """The toolkit at ``root``, or None where headers or a working compiler are missing."""
    nvcc = root / "bin" / "nvcc"
    if not has_headers(root) or not nvcc.is_file():
        return None
    try:
        version, codes = (
            subprocess.run([nvcc, option], capture_output=True, text=True, check=True).stdout
            for option in ("--version", "--list-gpu-code")
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    release = re.search(r"release (\d+\.\d+)", version)
    if release is None:
        return None
    known = tuple(sorted({int(code) for code in re.findall(r"sm_(\d+)\b", codes)}))
    return Toolkit(root.resolve(), release.group(1), known)


def find_toolkit(
    environ: Mapping[str, str] | None = None, wheel_roots: Iterable[Path] = ()
) -> tuple[Toolkit | None, str]:
    """The first usable toolkit and a line that says where it is, or why there is none."""
    environ = os.environ if environ is None else environ
    roots = candidate_roots(environ, wheel_roots)
    passed_over = ""
    for place, root in roots:
        toolkit = probe(root)
        if toolkit is not None:
            where = f"CUDA {toolkit.version} at {toolkit.root}, found by {place}"
            return toolkit, where + passed_over
        if place.startswith("CUDA_"):
            passed_over += f" ({place} has no headers or no nvcc)"
    looked = ", ".join(place for place, root in roots if root.exists()) or "nowhere to look"
    return None, f"no CUDA toolkit with headers and nvcc ({looked})"


# From these on the CUDA sources (``__CUDA_ARCH__``) have code of their own.
TOLD_APART = (80, 90)


@dataclass(frozen=True)
class Architecture:
    """One compilation target, such as ``9.0`` or ``9.0a``, with or without its PTX."""

    number: int
    suffix: str = ""
    ptx: bool = False

    @property
    def code(self) -> str:
        return f"{self.number}{self.suffix}"

    def __str__(self) -> str:
        text = f"{self.number // 10}.{self.number % 10}{self.suffix}"
        return text + ("+PTX" if self.ptx else "")

    @property
    def virtual(self) -> str:
        """Whose PTX the machine code is made of. Architectures that the sources do not tell apart
        share one, which the compiler then writes once: most of its time goes there."""
        shared = [number for number in TOLD_APART if number <= self.number]
        return str(max(shared)) if shared and not self.suffix else self.code

    def flags(self) -> list[str]:
        source = f"-gencode=arch=compute_{self.virtual}"
        flags = [f"{source},code=sm_{self.code}"]
        if self.ptx:
            flags.append(f"{source},code=compute_{self.virtual}")
        return flags


def parse_architectures(text: str) -> list[Architecture]:
    """Reads TORCH_CUDA_ARCH_LIST: ``8.0;9.0a 12.0+PTX`` or names such as ``Hopper``."""
    for name, numbers in NAMED_ARCHITECTURES.items():
        text = re.sub(rf"\b{name}\b", numbers, text)
    found: dict[str, Architecture] = {}
    for word in re.split(r"[;,\s]+", text.strip()):
        match = re.fullmatch(r"(\d+)\.(\d)([af]?)(\+PTX)?", word)
        if match is None:
            raise BuildError(
                f"TORCH_CUDA_ARCH_LIST: expected words such as 9.0 or 12.0+PTX, got {word!r} "
                f"in {text!r}"
            )
        major, minor, suffix, ptx = match.groups()
        architecture = Architecture(int(major) * 10 + int(minor), suffix, ptx is not None)
        known = found.get(architecture.code)
        if known is None or architecture.ptx:
            found[architecture.code] = architecture
    return sorted(found.values(), key=lambda each: (each.number, each.suffix))


def architectures_for(
    toolkit: Toolkit, environ: Mapping[str, str] | None = None
) -> list[Architecture]:
    """What to compile for: the list asked for, or the defaults that the toolkit knows."""
    environ = os.environ if environ is None else environ
    asked = environ.get("TORCH_CUDA_ARCH_LIST", "").strip()
    if asked:
        return parse_architectures(asked)
    known = [
        each for each in parse_architectures(DEFAULT_ARCHITECTURES) if each.number in toolkit.codes
    ]
    if not known:
        raise BuildError(
            f"CUDA {toolkit.version} compiles for none of {DEFAULT_ARCHITECTURES}; name its "
            "architectures in TORCH_CUDA_ARCH_LIST, or set SCRN_OPS_CUDA=0 for a CPU build"
        )
    newest = known[-1]
    known[-1] = Architecture(newest.number, newest.suffix, ptx=True)
    return known
