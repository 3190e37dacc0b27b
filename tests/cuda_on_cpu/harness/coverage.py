"""Which kernels a module has, which of them ran, and which the sources define."""

from __future__ import annotations

import re
import subprocess

from . import build
from .device import Device

DEFINITION = re.compile(
    r"__global__\s+void\s+(?:__launch_bounds__\((?:[^()]|\([^()]*\))*\)\s+)?(\w+)\("
)
# As nm writes it: of any namespace of the project, with its template arguments.
SYMBOL = re.compile(
    r"^([0-9a-f]+) \w (?:void )?scrn::(?:\w+::)*(\w+_kernel(?:<[^(]*?>)?)\((?!.*\[clone)",
    re.MULTILINE,
)


def compiled(device: Device) -> dict[int, str]:
    """Address in the module of every compiled kernel, with its template arguments."""
    command = ["nm", "-C", "--defined-only", str(device.module.__file__)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    # A launcher may be called like a kernel.
    kernels = defined_in("")
    return {
        int(address, 16): name
        for address, name in SYMBOL.findall(run.stdout)
        if name.split("<")[0] in kernels
    }


def defined_in(folder: str) -> set[str]:
    """Names of the __global__ functions in a folder of csrc."""
    sources = sorted((build.ROOT / "csrc" / folder).glob("**/*.cu*"))
    return {name for path in sources for name in DEFINITION.findall(path.read_text())}


def assert_all_ran(device: Device, family: str) -> set[str]:
    """That all instantiations in the module ran since the records were taken last, and all kernels
    of the family's sources with them. Returns what ran."""
    symbols = compiled(device)
    ran = {symbols[record["kernel"]] for record in device.module.take_records()}
    assert ran == set(symbols.values())
    names = {name.split("<")[0] for name in ran}
    assert names - defined_in("common") == defined_in(family)
    return ran
