"""Reads the built CUDA library with cuobjdump."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .kernels import Kernel, count_opcodes, parse_name
from .loops import loop_loads
from .occupancy import SHARED_RESERVED

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "scrn_ops" / "libscrn_ops_cuda.so"
ARCHITECTURES = (80, 90, 100, 120)

sys.path.insert(0, str(ROOT / "tools"))
import toolkit  # noqa: E402


class CannotReport(RuntimeError):  # noqa: N818
    """What the report needs is not on this machine; the message says what."""


def cuobjdump() -> Path:
    """A toolkit's, else the one that comes with triton."""
    places = [root / "bin" for _, root in toolkit.candidate_roots(os.environ)]
    spec = importlib.util.find_spec("triton")
    if spec is not None and spec.origin is not None:
        places.append(Path(spec.origin).parent / "backends" / "nvidia" / "bin")
    for place in places:
        if (place / "cuobjdump").is_file():
            return place / "cuobjdump"
    raise CannotReport("no cuobjdump: neither a CUDA toolkit with it nor triton is here")


def read(
    library: Path = LIBRARY, architectures: Sequence[int] = ARCHITECTURES, jobs: int | None = None
) -> list[Kernel]:
    """Every kernel of the library for these architectures, by architecture and name.

    Raises:
        CannotReport: no library built with CUDA, no cuobjdump, or the library has no code for one
            of the architectures.
    """
    if not library.is_file():
        raise CannotReport(f"{library} is not there: it is built where nvcc is (make build)")
    dump, names = cuobjdump(), shutil.which("c++filt")
    if names is None:
        raise CannotReport("no c++filt: it comes with the binutils")
    with ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0))) as pool:
        found = pool.map(lambda each: _read_one(dump, names, library, each), architectures)
        return [kernel for kernels in found for kernel in kernels]


def _read_one(dump: Path, names: str, library: Path, architecture: int) -> list[Kernel]:
    def run(*options: str) -> str:
        command = [str(dump), "-arch", f"sm_{architecture}", *options, str(library)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CannotReport(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    resources = dict(_resources(run("-res-usage")))
    if not resources:
        raise CannotReport(
            f"{library} has no code for sm_{architecture}; TORCH_CUDA_ARCH_LIST chose others "
            "when it was built"
        )
    notes = dict(_sections(run("-elf"), r"\.nv\.info\.(\S+)"))
    code = dict(_sections(run("-sass"), r"\s*Function : (\S+)"))
    signatures = subprocess.run(
        [names], input="\n".join(resources), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    kernels = []
    for (mangled, usage), signature in zip(resources.items(), signatures, strict=True):
        name, feature, bits = parse_name(signature)
        note = "\n".join(notes[mangled])
        threads = re.search(r"EIATTR_MAX_THREADS\s+Format:.*\s+Value:\s+(0x\w+) (0x\w+)", note)
        if threads is None:
            raise CannotReport(f"{signature}: no __launch_bounds__, hence no size of its blocks")
        kernels.append(
            Kernel(
                name=name,
                feature_type=feature,
                index_bits=bits,
                architecture=architecture,
                threads=int(threads.group(1), 16) * int(threads.group(2), 16),
                registers=usage["REG"],
                stack_bytes=usage["STACK"],
                shared_bytes=_own_shared(usage["SHARED"], architecture),
                spills=note.count("SpillRefill"),
                opcodes=count_opcodes(code[mangled]),
                loop_loads=loop_loads(code[mangled]),
            )
        )
    return sorted(kernels, key=lambda each: (each.name, each.feature_type, each.index_bits))


def _own_shared(reported: int, architecture: int) -> int:
    """From sm_90 on, the kilobyte that the driver takes is in what a kernel with arrays reports."""
    return reported - SHARED_RESERVED if architecture >= 90 and reported > 0 else reported


def _resources(text: str) -> Iterator[tuple[str, dict[str, int]]]:
    for name, usage in re.findall(r"^ Function (\S+):\n +(REG:.*)$", text, re.MULTILINE):
        yield name, {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", usage)}


def _sections(text: str, heading: str) -> Iterator[tuple[str, list[str]]]:
    """Lines below each heading, which names the kernel that they are about."""
    pattern = re.compile(heading + "$")
    name, lines = "", []
    for line in text.splitlines():
        match = pattern.match(line)
        if match is not None:
            if name:
                yield name, lines
            name, lines = match.group(1), []
        elif name:
            lines.append(line)
    if name:
        yield name, lines
