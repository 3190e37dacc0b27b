"""Loads the operator libraries, which registers ``torch.ops.scrn_ops.*``.

The CUDA kernels are a library of their own, loaded only by a torch that has CUDA, so that one
wheel also serves a CPU-only torch.
"""

from __future__ import annotations

import ctypes
import functools
import json
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._version import __version__

PACKAGE = Path(__file__).resolve().parent.parent
CPU_LIBRARY = PACKAGE / "libscrn_ops.so"
CUDA_LIBRARY = PACKAGE / "libscrn_ops_cuda.so"
MINIMUM_TORCH = (2, 11)
REBUILD = (
    "rebuild it, in a checkout with `make build`, elsewhere with `pip install --force-reinstall "
    "--no-deps --no-build-isolation .` in the source folder"
)

_loaded: set[Path] = set()


def build_info() -> dict[str, Any]:
    """What the build wrote down about itself; empty where nothing was built."""
    path = PACKAGE / "_build_info.json"
    info: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return info


def versions() -> str:
    """The versions that decide whether the libraries load, in one line."""
    built = build_info().get("torch")
    origin = f"built with torch {built} for {build_info()['machine']}" if built else "not built"
    cuda = f"with CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    return (
        f"scrn_ops {__version__} ({origin}), torch {torch.__version__} {cuda}, "
        f"Python {platform.python_version()} on {platform.machine()}"
    )


def cuda_absence() -> str | None:
    """Why the CUDA kernels are not loaded in this process, or None where they are."""
    if CUDA_LIBRARY in _loaded:
        return None
    if torch.version.cuda is None:
        return f"torch {torch.__version__} has no CUDA"
    if not CUDA_LIBRARY.is_file():
        reason = build_info().get("cuda", {}).get("reason", "nothing was built")
        return (
            f"built without CUDA kernels ({reason}); install a CUDA toolkit, set SCRN_OPS_CUDA=1 "
            f"and {REBUILD}"
        )
    return "the libraries were not loaded"


def check_device(tensor: Tensor, *, compiled: bool = True, on_cuda: bool = True) -> None:
    """Whether there are fused kernels for it.

    Args:
        tensor: of the call.
        compiled: on CUDA the kernels are those of the compiled library.
        on_cuda: the op has kernels for CUDA.

    Raises:
        NotImplementedError: there are none, and why.
    """
    device = tensor.device.type
    if device == "cpu" or device == "meta":
        return
    reason: str | None = "there are none for it" if on_cuda else "there are some for the CPU alone"
    if device == "cuda" and on_cuda:
        asked = compiled and not torch.compiler.is_compiling()
        reason = cuda_absence() if asked else None
        if reason is None:
            return
    raise NotImplementedError(
        f'backend: no fused kernels for device {device!r} ({reason}); backend="eager" runs there'
    )


def cpu_instruction_set() -> str:
    """The instruction set of the CPU kernels in use; ``SCRN_OPS_CPU`` forces one.

    Raises:
        RuntimeError: ``SCRN_OPS_CPU`` names one that this build or this machine has not.
    """
    text = ctypes.create_string_buffer(512)
    found = _cpu_library().scrn_ops_cpu_instruction_set(text, ctypes.c_size_t(len(text)))
    if not found:
        raise RuntimeError(text.value.decode())
    return text.value.decode()


def cpu_has_instruction_set(name: str) -> bool:
    """Whether this build on this machine can run ``"avx512"``, ``"avx2"`` or ``"portable"``."""
    return bool(_cpu_library().scrn_ops_cpu_has_instruction_set(name.encode()))


@functools.cache
def _cpu_library() -> ctypes.CDLL:
    """What it tells of instruction sets, to call by ctypes."""
    library = ctypes.CDLL(str(CPU_LIBRARY))
    library.scrn_ops_cpu_instruction_set.restype = ctypes.c_bool
    library.scrn_ops_cpu_has_instruction_set.restype = ctypes.c_bool
    return library


def load_libraries() -> None:
    """Registers the operators and their kernels. Calling it again does nothing.

    Raises:
        ImportError: torch is too old, nothing was built, or a library does not load; the
            message names the versions found and the fix.
    """
    needed = ".".join(map(str, MINIMUM_TORCH))
    major, minor = torch.__version__.split(".")[:2]
    if (int(major), int(minor)) < MINIMUM_TORCH:
        raise ImportError(
            f"scrn_ops needs torch>={needed}. Found {versions()}. "
            f"Fix: pip install --upgrade 'torch>={needed}'"
        )
    if not CPU_LIBRARY.is_file():
        raise ImportError(
            f"scrn_ops is not built: {CPU_LIBRARY.name} is not in {PACKAGE}. Found {versions()}. "
            f"Fix: {REBUILD}"
        )
    _load(CPU_LIBRARY)
    if torch.version.cuda is not None and CUDA_LIBRARY.is_file():
        _load(CUDA_LIBRARY)


def _load(path: Path) -> None:
    if path in _loaded:
        return
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        raise ImportError(
            f"scrn_ops cannot load {path.name}: {error}. Found {versions()}. Fix: {REBUILD}"
        ) from error
    _loaded.add(path)
