"""Reads the kernels of the built CUDA library."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..common.checkout import ROOT
from . import cuobjdump
from .cuobjdump import CannotReport
from .kernels import Kernel, count_opcodes, parse_name
from .loops import loop_loads
from .occupancy import SHARED_RESERVED

LIBRARY = ROOT / "scrn_ops" / "libscrn_ops_cuda.so"
ARCHITECTURES = (80, 90, 100, 120)


def read(library: Path = LIBRARY, architectures: Sequence[int] = ARCHITECTURES) -> list[Kernel]:
    """Every kernel of the library for these architectures, by architecture and name.

    Raises:
        CannotReport: no library built with CUDA, no cuobjdump, or the library has no code for one
            of the architectures.
    """
    if not library.is_file():
        raise CannotReport(f"{library} is not there: it is built where nvcc is (make build)")
    names = shutil.which("c++filt")
    if names is None:
        raise CannotReport("no c++filt: it comes with the binutils")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = pool.map(lambda each: _read_one(names, library, each), architectures)
        return [kernel for kernels in found for kernel in kernels]


def _read_one(names: str, library: Path, architecture: int) -> list[Kernel]:
    chosen = ("-arch", f"sm_{architecture}")
    resources = cuobjdump.resources(*chosen, library)
    if not resources:
        raise CannotReport(
            f"{library} has no code for sm_{architecture}; TORCH_CUDA_ARCH_LIST chose others "
            "when it was built"
        )
    elf, sass = (cuobjdump.run(*chosen, kind, library) for kind in ("-elf", "-sass"))
    notes = dict(cuobjdump.sections(elf, r"\.nv\.info\.(\S+)"))
    code = dict(cuobjdump.sections(sass, r"\s*Function : (\S+)"))
    signatures = subprocess.run(
        [names], input="\n".join(resources), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    kernels = []
    for (mangled, usage), signature in zip(resources.items(), signatures, strict=True):
        note = "\n".join(notes[mangled])
        threads = re.search(r"EIATTR_MAX_THREADS\s+Format:.*\s+Value:\s+(0x\w+) (0x\w+)", note)
        if threads is None:
            raise CannotReport(f"{signature}: no __launch_bounds__, hence no size of its blocks")
        # From sm_90 on, the kilobyte that the driver takes is in what a kernel with arrays reports.
        reserved = SHARED_RESERVED if architecture >= 90 and usage["SHARED"] > 0 else 0
        kernels.append(
            Kernel(
                *parse_name(signature),
                architecture=architecture,
                threads=int(threads.group(1), 16) * int(threads.group(2), 16),
                registers=usage["REG"],
                stack_bytes=usage["STACK"],
                shared_bytes=usage["SHARED"] - reserved,
                spills=note.count("SpillRefill"),
                opcodes=count_opcodes(code[mangled]),
                loop_loads=loop_loads(code[mangled]),
            )
        )
    return sorted(kernels, key=lambda each: (each.name, each.feature_type, each.index_bits))
