"""Builds the two operator libraries with ninja: incremental, parallel, torch never imported.

``libscrn_ops.so`` holds the schemas and the CPU kernels, ``libscrn_ops_cuda.so`` the CUDA
kernels. Neither depends on Python, and torch is used through its stable ABI only, so one build
serves every Python and every torch from 2.11 on.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import runpy
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from toolkit import Architecture, BuildError, Toolkit, architectures_for, find_toolkit

ROOT = Path(__file__).resolve().parent.parent
CPU_LIBRARY = "libscrn_ops.so"
CUDA_LIBRARY = "libscrn_ops_cuda.so"
BUILD_INFO = "_build_info.json"
TORCH_TARGET_VERSION = "0x020b000000000000"

# gcc's own AVX-512 headers read variables that they leave uninitialised on purpose.
SIMD_FLAGS = {
    "_avx2.cpp": "-mavx2 -mfma -mf16c",
    "_avx512.cpp": (
        "-Wno-uninitialized -Wno-maybe-uninitialized "
        "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c"
    ),
}


@dataclass(frozen=True)
class Torch:
    """The torch whose headers and libraries the bindings are compiled and linked with."""

    root: Path
    version: str
    cuda: str | None

    @classmethod
    def find(cls) -> Torch:
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.origin is None:
            raise BuildError(
                "building scrn_ops needs torch>=2.11: install it first when building with "
                "--no-build-isolation"
            )
        root = Path(spec.origin).parent
        facts = runpy.run_path(str(root / "version.py"))
        version = str(facts["__version__"])
        if tuple(int(part) for part in version.split(".")[:2]) < (2, 11):
            raise BuildError(f"building scrn_ops needs torch>=2.11, found {version} at {root}")
        return cls(root, version, facts["cuda"])

    def wheel_roots(self) -> list[Path]:
        """Where the CUDA packages that torch depends on keep headers and libraries."""
        return sorted(self.root.parent.glob("nvidia/cu*"), reverse=True)


@dataclass(frozen=True)
class Plan:
    """Everything that decides what is built."""

    torch: Torch
    toolkit: Toolkit | None
    architectures: tuple[Architecture, ...]
    cuda_reason: str
    werror: bool
    x86: bool
    cxx: str

    @classmethod
    def from_environment(cls) -> Plan:
        if not sys.platform.startswith("linux"):
            raise BuildError(f"scrn_ops builds on Linux; this is {sys.platform}")
        torch = Torch.find()
        toolkit, reason = choose_toolkit(os.environ.get("SCRN_OPS_CUDA", ""), torch.wheel_roots())
        cxx = os.environ.get("CXX", "g++")
        if shutil.which(shlex.split(cxx)[0]) is None:
            raise BuildError(f"no C++ compiler: {cxx!r} is not there; install g++ or set CXX")
        return cls(
            torch=torch,
            toolkit=toolkit,
            architectures=tuple(architectures_for(toolkit)) if toolkit else (),
            cuda_reason=reason,
            werror=os.environ.get("SCRN_OPS_WERROR", "0") not in ("", "0"),
            x86=platform.machine() in ("x86_64", "AMD64"),
            cxx=cxx,
        )


def choose_toolkit(request: str, wheel_roots: list[Path]) -> tuple[Toolkit | None, str]:
    """Obeys SCRN_OPS_CUDA: unset takes a toolkit where there is one, 1 insists, 0 refuses."""
    if request not in ("", "0", "1"):
        raise BuildError(f"SCRN_OPS_CUDA: expected 0 or 1, got {request!r}")
    if request == "0":
        return None, "SCRN_OPS_CUDA=0"
    toolkit, reason = find_toolkit(wheel_roots=wheel_roots)
    if toolkit is None and request == "1":
        raise BuildError(
            f"SCRN_OPS_CUDA=1, but {reason}; install a toolkit or name it in CUDA_HOME"
        )
    return toolkit, reason


def include_flags(plan: Plan) -> list[str]:
    """CUDA include directories: the toolkit's, then the wheels' for what it lacks."""
    assert plan.toolkit is not None
    directories = plan.toolkit.include_dirs()
    missing = plan.toolkit.missing_headers()
    if missing:
        wheels = [root / "include" for root in plan.torch.wheel_roots()]
        wheels += [path / "cccl" for path in wheels]
        directories += [path for path in wheels if path.is_dir()]
        absent = [h for h in missing if not any((d / h).is_file() for d in directories)]
        if absent:
            raise BuildError(
                f"CUDA {plan.toolkit.version} at {plan.toolkit.root} lacks {', '.join(absent)}, "
                "and so do torch's own packages; install the toolkit's runtime headers, or set "
                "SCRN_OPS_CUDA=0 for a CPU build"
            )
    return [f"-isystem {quote(path)}" for path in directories]


def cudart_flags(plan: Plan) -> tuple[list[str], str]:
    """Links the CUDA runtime statically, so that the library loads where no toolkit is."""
    assert plan.toolkit is not None
    wheels = [root / "lib" for root in plan.torch.wheel_roots()]
    directories = [*plan.toolkit.library_dirs(), *wheels]
    for directory in directories:
        if (directory / "libcudart_static.a").is_file():
            return [quote(directory / "libcudart_static.a"), "-ldl -lrt -lpthread"], "static"
    for directory in directories:
        for library in sorted(directory.glob("libcudart.so*")):
            return [quote(library)], f"shared ({library.name})"
    raise BuildError(
        f"CUDA {plan.toolkit.version} at {plan.toolkit.root} has no cudart library; install it, "
        "or set SCRN_OPS_CUDA=0 for a CPU build"
    )


def quote(path: Path | str) -> str:
    return shlex.quote(str(path))


def host_flags(plan: Plan) -> str:
    flags = "-O3 -fPIC -fvisibility=hidden -fno-math-errno -fno-trapping-math -Wall -Wextra"
    flags += " -Werror" if plan.werror else ""
    flags += "" if plan.x86 else " -DSCRN_NO_X86"
    return f"{flags} -I{quote(ROOT / 'csrc')}"


def binding_flags(plan: Plan, torch: Path, device: str) -> str:
    """For what includes the headers of the torch that is installed at, or linked to, ``torch``."""
    flags = f"-std=c++20 {host_flags(plan)} -isystem {quote(torch / 'include')} "
    flags += f"-DTORCH_TARGET_VERSION={TORCH_TARGET_VERSION}"
    return " ".join([flags, "-DUSE_CUDA", *include_flags(plan)]) if device == "cuda" else flags


def bindings(device: str) -> list[Path]:
    found = sorted((ROOT / "csrc").glob(f"*/torch_{device}.cpp"))
    return found if device == "cuda" else [*found, ROOT / "csrc/schemas.cpp"]


class NinjaFile:
    """Collects compile and link edges; a source is compiled again only if it changed."""

    def __init__(self, plan: Plan, directory: Path):
        self.plan = plan
        self.directory = directory
        # A name with the version in it, so that another torch recompiles the bindings only.
        self.torch_link = directory / f"torch-{plan.torch.version}"
        self.lines = [
            "ninja_required_version = 1.5",
            f"cxx = {plan.cxx}",
            "rule cxx",
            "  command = $cxx $flags -MD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "  description = c++ $in",
            "rule nvcc",
            "  command = $nvcc $flags -MD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "  description = nvcc $in",
            "rule link",
            "  command = $cxx -shared -o $out $in $flags",
            "  description = link $out",
        ]

    def edge(self, rule: str, output: str, inputs: list[str], flags: str) -> str:
        escaped = [path.replace("$", "$$").replace(" ", "$ ").replace(":", "$:") for path in inputs]
        self.lines += [f"build {output}: {rule} {' '.join(escaped)}", f"  flags = {flags}"]
        return output

    def compile(self, source: Path, rule: str, flags: str) -> str:
        output = f"obj/{source.relative_to(ROOT / 'csrc')}.o"
        return self.edge(rule, output, [str(source)], flags)

    def host_object(self, source: Path) -> str:
        simd = next((f for suffix, f in SIMD_FLAGS.items() if source.name.endswith(suffix)), "")
        return self.compile(source, "cxx", f"-std=c++17 {host_flags(self.plan)} {simd}".rstrip())

    def bindings(self, device: str) -> list[str]:
        flags = binding_flags(self.plan, self.torch_link, device)
        return [self.compile(source, "cxx", flags) for source in bindings(device)]

    def cuda_object(self, source: Path) -> str:
        plan = self.plan
        assert plan.toolkit is not None
        flags = ["-std=c++17 -O3", f"-I{quote(ROOT / 'csrc')}", *include_flags(plan)]
        flags += ["-Xcompiler=-fPIC,-fvisibility=hidden,-Wall", "-Xfatbin=-compress-all"]
        flags += ["-Werror=all-warnings"] if plan.werror else []
        flags += [f"-ccbin={quote(plan.cxx)}"] if "CXX" in os.environ else []
        flags += [flag for architecture in plan.architectures for flag in architecture.flags()]
        return self.compile(source, "nvcc", " ".join(flags))

    def torch_library(self, name: str) -> str:
        return quote(self.torch_link / "lib" / name)

    def cpu_library(self) -> str:
        sources = sorted((ROOT / "csrc").glob("*/cpu/*.cpp"))
        if not self.plan.x86:
            sources = [s for s in sources if not s.name.endswith(tuple(SIMD_FLAGS))]
        objects = [self.host_object(source) for source in sources] + self.bindings("cpu")
        flags = f"-Wl,--no-undefined -Wl,--as-needed {self.torch_library('libtorch_cpu.so')}"
        return self.edge("link", CPU_LIBRARY, objects, flags)

    def cuda_library(self) -> tuple[str, str]:
        plan = self.plan
        assert plan.toolkit is not None
        self.lines.append(f"nvcc = {quote(plan.toolkit.nvcc)}")
        objects = [self.cuda_object(s) for s in sorted((ROOT / "csrc").glob("*/cuda/*.cu"))]
        objects += self.bindings("cuda")
        cudart, linkage = cudart_flags(plan)
        flags = ["-Wl,--as-needed -Wl,--exclude-libs,ALL", *cudart]
        flags.append(self.torch_library("libtorch_cpu.so"))
        if (plan.torch.root / "lib/libtorch_cuda.so").is_file():
            flags += ["-Wl,--no-undefined", self.torch_library("libtorch_cuda.so")]
        else:
            # A torch without CUDA can compile the library for others: an empty stand-in of the
            # same name makes the loader look there for what stays undefined here.
            stand_in = self.directory / "stand_in" / "libtorch_cuda.so"
            flags += ["-Wl,--no-as-needed", quote(stand_in)]
        return self.edge("link", CUDA_LIBRARY, objects, " ".join(flags)), linkage

    def write(self, targets: list[str]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        for old in self.directory.glob("torch-*"):
            old.unlink()
        self.torch_link.symlink_to(self.plan.torch.root, target_is_directory=True)
        stand_in = self.directory / "stand_in" / "libtorch_cuda.so"
        stand_in.parent.mkdir(exist_ok=True)
        if self.plan.toolkit and not stand_in.exists():
            command = [*shlex.split(self.plan.cxx), "-shared", "-x", "c++", "/dev/null"]
            subprocess.run(
                [*command, "-Wl,-soname,libtorch_cuda.so", "-o", str(stand_in)], check=True
            )
        text = "\n".join([*self.lines, f"default {' '.join(targets)}", ""])
        path = self.directory / "build.ninja"
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def ninja_command() -> list[str]:
    if importlib.util.find_spec("ninja") is not None:
        return [sys.executable, "-m", "ninja"]
    found = shutil.which("ninja")
    if found is None:
        raise BuildError("building scrn_ops needs ninja: pip install ninja")
    return [found]


def jobs() -> int:
    """As many compilations at once as there are cores to run on; MAX_JOBS lowers it."""
    asked = os.environ.get("MAX_JOBS", "")
    return max(1, int(asked)) if asked else len(os.sched_getaffinity(0))


def object_seconds(log: Path, since: int) -> list[tuple[float, str]]:
    """Seconds of every edge in ninja's log from line ``since`` on, slowest first."""
    rows = [line.split("\t") for line in log.read_text().splitlines()[since:]]
    times = {row[3]: (int(row[1]) - int(row[0])) / 1000 for row in rows if len(row) == 5}
    return sorted(((seconds, name) for name, seconds in times.items()), reverse=True)


def replace_if_changed(source: Path, target: Path) -> None:
    """Installs a file by renaming, so that a process that has the old one mapped lives on."""
    if target.is_file() and target.read_bytes() == source.read_bytes():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".new")
    shutil.copy2(source, temporary)
    os.replace(temporary, target)


def build_info(plan: Plan, cudart: str) -> dict[str, object]:
    compiler = subprocess.run(
        [*shlex.split(plan.cxx), "--version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]
    cuda: dict[str, object] = {"built": plan.toolkit is not None, "reason": plan.cuda_reason}
    if plan.toolkit is not None:
        cuda["version"] = plan.toolkit.version
        cuda["architectures"] = [str(architecture) for architecture in plan.architectures]
        cuda["cudart"] = cudart
    return {
        "torch": plan.torch.version,
        "compiler": compiler,
        "machine": platform.machine(),
        "cuda": cuda,
    }


def warn_of_newer_toolkit(plan: Plan) -> None:
    """The CUDA runtime is linked in: a driver new enough for torch's may be too old for it."""
    found, known = plan.toolkit, plan.torch.cuda
    if found and known and int(found.version.split(".")[0]) > int(known.split(".")[0]):
        print(
            f"scrn_ops: warning: CUDA {found.version} is newer than torch's {known}, and so must "
            "be the driver; CUDA_HOME names another toolkit",
            flush=True,
        )


def check_bindings() -> None:
    """Compiles what includes torch's headers for its messages alone.

    Raises:
        BuildError: it does not compile with the torch of this Python.
    """
    plan = Plan.from_environment()
    for device in ("cpu", "cuda"):
        if device == "cuda" and not plan.toolkit:
            print(f"the CUDA bindings: not compiled, {plan.cuda_reason}")
            continue
        flags = shlex.split(binding_flags(plan, plan.torch.root, device))
        for source in bindings(device):
            command = [*shlex.split(plan.cxx), *flags, "-fsyntax-only", "-Werror", str(source)]
            if subprocess.run(command, check=False).returncode != 0:
                raise BuildError(f"{source.name} does not compile with torch {plan.torch.version}")


def build(target: Path) -> list[Path]:
    """Builds what the environment asks for and puts it into the package at ``target``."""
    plan = Plan.from_environment()
    if plan.toolkit is None:
        print(f"scrn_ops: CPU build: {plan.cuda_reason}", flush=True)
    else:
        names = " ".join(str(architecture) for architecture in plan.architectures)
        print(f"scrn_ops: {plan.cuda_reason}, for {names}", flush=True)
        warn_of_newer_toolkit(plan)
    directory = ROOT / "build" / "native"
    ninja = NinjaFile(plan, directory)
    libraries, cudart = [], ""
    if plan.toolkit is not None:
        # First, because ninja starts edges in this order and these take longest.
        library, cudart = ninja.cuda_library()
        libraries.append(library)
    libraries.append(ninja.cpu_library())
    ninja.write(libraries)

    log = directory / ".ninja_log"
    before = len(log.read_text().splitlines()) if log.is_file() else 0
    start = time.perf_counter()
    run = subprocess.run([*ninja_command(), "-C", str(directory), "-j", str(jobs())], check=False)
    if run.returncode != 0:
        raise BuildError("the compilation failed; the compiler's messages are above")
    seconds = time.perf_counter() - start

    for spent, name in object_seconds(log, before):
        print(f"scrn_ops: {spent:7.1f} s  {name}")
    for name in libraries:
        replace_if_changed(directory / name, target / name)
    if plan.toolkit is None:
        (target / CUDA_LIBRARY).unlink(missing_ok=True)
    info = directory / BUILD_INFO
    info.write_text(json.dumps(build_info(plan, cudart), indent=2) + "\n")
    replace_if_changed(info, target / BUILD_INFO)
    sizes = [f"{name} {(target / name).stat().st_size / 1e6:.2f} MB" for name in libraries]
    print(f"scrn_ops: {', '.join(sizes)}, built in {seconds:.1f} s by {jobs()} jobs", flush=True)
    return [target / name for name in [*libraries, BUILD_INFO]]
