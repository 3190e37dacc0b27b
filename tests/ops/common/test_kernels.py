"""Which kernels there are, and how they are chosen."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

import scrn_ops
from scrn_ops._core import load


def sample(device="cpu"):
    return scrn_ops.offset_sample(
        torch.ones(1, 1, 2, 2, device=device), torch.zeros(1, 2, 2, 2, device=device)
    )


@pytest.mark.parametrize("name", ["avx512", "avx2", "portable"])
def test_the_variable_forces_an_instruction_set(name, monkeypatch):
    monkeypatch.setenv("SCRN_OPS_CPU", name)
    if not load.cpu_has_instruction_set(name):
        with pytest.raises(RuntimeError, match=f"SCRN_OPS_CPU={name}.*available: .*portable"):
            sample()
        pytest.skip(f"this machine or build has no {name}: its kernels are not tested here")
    assert load.cpu_instruction_set() == name
    assert sample().sum() == 4


def test_the_best_instruction_set_is_the_default(monkeypatch):
    monkeypatch.delenv("SCRN_OPS_CPU", raising=False)
    names = ["avx512", "avx2", "portable"]
    best = next(name for name in names if load.cpu_has_instruction_set(name))
    assert load.cpu_instruction_set() == best


def test_an_unknown_instruction_set_is_an_error(monkeypatch):
    monkeypatch.setenv("SCRN_OPS_CPU", "neon")
    with pytest.raises(RuntimeError, match=r"SCRN_OPS_CPU=neon.*available: .*portable"):
        sample()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="not an x86-64")
def test_avx2_is_built_and_found():
    flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
    assert load.cpu_has_instruction_set("avx2") == ({"avx2", "fma", "f16c"} <= set(flags))


def test_cuda_is_there_or_says_why():
    if torch.cuda.is_available():
        assert sample("cuda").sum() == 4
        return
    # Devices without kernels get an error, not the eager chain.
    assert load.cuda_absence() is None or "CUDA" in load.cuda_absence()
    pytest.skip("no CUDA device: its kernels are not tested here")
