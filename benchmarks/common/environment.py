"""What a figure depends on besides the code: versions, device, load."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from pathlib import Path

import torch

import scrn_ops
from scrn_ops._core import load

from . import checkout


def describe(device: str) -> dict[str, object]:
    facts: dict[str, object] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": checkout.commit(),
        "scrn_ops": scrn_ops.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "instruction_set": load.cpu_instruction_set(),
        "load": round(os.getloadavg()[0], 2),
        "device": device,
    }
    if device != "cpu":
        facts["gpu"] = torch.cuda.get_device_name()
        facts["capability"] = ".".join(map(str, torch.cuda.get_device_capability()))
        facts["cuda"] = torch.version.cuda
    return facts


def headline(facts: dict[str, object]) -> str:
    """Two lines for a person."""
    device = facts["gpu"] if "gpu" in facts else f"{facts['cpu']}, {facts['instruction_set']}"
    return (
        f"{device}, {facts['cores']} cores, load {facts['load']}\n"
        f"scrn_ops {facts['scrn_ops']} ({facts['commit'] or 'no commit'}), "
        f"torch {facts['torch']}, Python {facts['python']}"
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
