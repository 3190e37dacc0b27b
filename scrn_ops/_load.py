"""Loads the operator libraries, which registers ``torch.ops.scrn_ops.*``.

The CUDA kernels are a library of their own, loaded only by a torch that has CUDA, so that one
wheel also serves a CPU-only torch.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch

from ._version import __version__

PACKAGE = Path(__file__).resolve().parent
CPU_LIBRARY = PACKAGE / "libscrn_ops.so"
CUDA_LIBRARY = PACKAGE / "libscrn_ops_cuda.so"
MINIMUM_TORCH = (2, 11)
REBUILD = (
    "in a checkout run `make build`, elsewhere "
    "`pip install --force-reinstall --no-deps --no-build-isolation <the source of scrn>`"
)

_loaded: set[Path] = set()


def build_info() -> dict[str, Any]:
    """What the build wrote down about itself; empty where nothing was built."""
    path = PACKAGE / "_build_info.json"
    info: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return info


def versions() -> str:
    """The versions that decide whether the libraries load, in one line."""
    built = build_info().get("torch", "nothing built")
    return (
        f"scrn_ops {__version__} (built with torch {built}), torch {torch.__version__}, "
        f"CUDA of torch {torch.version.cuda}, Python {platform.python_version()}, "
        f"{platform.machine()}"
    )


def torch_is_new_enough(version: str) -> bool:
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) >= MINIMUM_TORCH


def cuda_absence() -> str | None:
    """Why the CUDA kernels are not loaded in this process, or None where they are."""
    if CUDA_LIBRARY in _loaded:
        return None
    if torch.version.cuda is None:
        return f"torch {torch.__version__} has no CUDA"
    if not CUDA_LIBRARY.is_file():
        reason = build_info().get("cuda", {}).get("reason", "nothing was built")
        return (
            f"scrn_ops was built without them ({reason}); install a CUDA toolkit, set "
            f"SCRN_OPS_CUDA=1 and rebuild: {REBUILD}"
        )
    return "load_libraries() was not called"


def _load(path: Path) -> None:
    try:
        torch.ops.load_library(path)
    except OSError as error:
        built = build_info().get("machine", platform.machine())
        cause = f" (built for {built})" if built != platform.machine() else ""
        raise ImportError(
            f"scrn_ops cannot load {path.name}{cause}: {error}. Found {versions()}. The library "
            f"serves every torch from {'.'.join(map(str, MINIMUM_TORCH))} on; rebuild it for this "
            f"one: {REBUILD}"
        ) from error
    _loaded.add(path)


def load_libraries() -> None:
    """Registers the operators and their kernels. Calling it again does nothing.

    Raises:
        ImportError: torch is too old, nothing was built, or a library does not load; the
            message names the versions found and the fix.
    """
    if CPU_LIBRARY in _loaded:
        return
    if not torch_is_new_enough(torch.__version__):
        raise ImportError(
            f"scrn_ops needs torch>={'.'.join(map(str, MINIMUM_TORCH))}. Found {versions()}. "
            f"Fix: pip install --upgrade 'torch>={'.'.join(map(str, MINIMUM_TORCH))}'"
        )
    if not CPU_LIBRARY.is_file():
        raise ImportError(
            f"scrn_ops is not built: {CPU_LIBRARY.name} is not in {PACKAGE}. Found {versions()}. "
            f"Fix: {REBUILD}"
        )
    _load(CPU_LIBRARY)
    if torch.version.cuda is not None and CUDA_LIBRARY.is_file():
        _load(CUDA_LIBRARY)
