"""The resident memory of this process, as Linux counts it. Without torch, for processes that
measure other engines."""

from __future__ import annotations

from pathlib import Path


def forget_peak() -> int:
    """Resets the peak, and returns the bytes in use."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """The most bytes in use since :func:`forget_peak`. ``getrusage`` would start from the
    parent's."""
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")
