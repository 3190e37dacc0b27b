"""The Triton kernels: on the CPU in Triton's interpreter (``TRITON_INTERPRET=1``, set before
anything imports triton), which ``test_interpreted.py`` starts, or on a CUDA device."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scrn_ops.attention import table

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

collect_ignore_glob = [] if INTERPRETED or torch.cuda.is_available() else ["test_*.py"]

SMALL = {
    "flash": table.Tiles(16, 16, 16, 4, 1),
    "flash_many": table.Tiles(32, 16, 16, 4, 1),
    "exponentials": table.Tiles(16, 32, 16, 4, 1),
    "weighted_values": table.Tiles(32, 16, 16, 4, 1),
    "score_gradients": table.Tiles(16, 32, 16, 4, 1),
    "products": table.Tiles(32, 16, 16, 4, 1),
}


@pytest.fixture(scope="session", autouse=True)
def _patched_language() -> Iterator[None]:
    """The interpreter exchanges the functions of ``triton.language`` at every launch, and back,
    and again at every call of a device function: a third of these tests' time. Here it does so
    once."""
    with pytest.MonkeyPatch.context() as patch:
        if INTERPRETED:
            import triton.language as tl
            from triton.runtime import interpreter

            exchange = interpreter._patch_lang

            @functools.cache
            def once(*languages: str) -> None:
                exchange(SimpleNamespace(__globals__={name: named[name] for name in languages}))

            named = {"tl": tl, "core": tl.core}

            def patched(fn: Callable[..., Any]) -> SimpleNamespace:
                seen = {id(value) for value in fn.__globals__.values()}
                once(*(name for name, module in named.items() if id(module) in seen))
                return SimpleNamespace(restore=lambda: None)

            patch.setattr(interpreter, "_patch_lang", patched)
        yield


@pytest.fixture(autouse=True)
def _guarded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    if INTERPRETED:
        from . import guard

        guard.install(monkeypatch)


@pytest.fixture(params=["cpu" if INTERPRETED else pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def widest(device: str) -> torch.dtype:
    """The type of formulas that are checked on a device, too, which takes half types alone."""
    return torch.float32 if device == "cpu" else torch.float16


@pytest.fixture
def interpreted(device: str) -> None:
    """Of tests that say something in float32 and float64 alone."""
    if device == "cuda":
        pytest.skip("on CUDA the Triton kernels take half types")


@pytest.fixture(params=table.PATHS)
def path(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So small that little shapes have several blocks in every direction, keys split in parts,
    chunks of few queries, and tails everywhere."""
    monkeypatch.setattr(table, "tiles", lambda kernel, *_: SMALL[kernel])
    monkeypatch.setattr(table, "CHUNK_BYTES", 4000)

    def key_splits(programs: int, m: int, block: int, processors: int) -> tuple[int, int]:
        # Two blocks to a part: within it, the maximum and the sum go on from block to block.
        return -(-m // (2 * block)), 2 * block

    monkeypatch.setattr(table, "key_splits", key_splits)
    from scrn_ops.attention.kernels import replay

    replay.forget()
    yield
    replay.forget()
