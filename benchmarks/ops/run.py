"""Runs the cases: draw the arguments, pass the gate, take the time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch._functorch import config as functorch_config

from scrn_ops._core.allocator import keep_freed_memory

from ..common import memory, timing
from ..common.yardstick import COPY, FLOOR
from . import gate
from .case import BASELINE, COMPILED, OURS, Arguments, Case, Function, arguments, inputs_of, prepare
from .cost import cost
from .results import FAILED, LEFT_OUT, WRONG, Results, Row

FEWER_THREADS = "left out, measured at the largest number of threads"
PAST_BUDGET = "left out, compilation takes too long"


@dataclass
class Runner:
    device: str
    threads: tuple[int, ...]
    seconds: float  # of timing for each implementation
    compile_budget: float  # seconds of compilation in all, for each implementation
    time_limit: float = float("inf")  # seconds after which no further case is begun
    left_out: list[Case] = field(default_factory=list)
    _compile_seconds: dict[str, float] = field(default_factory=dict)  # by implementation
    _flops_per_second: dict[tuple[torch.dtype, int], float] = field(default_factory=dict)
    _definition: tuple[Case, gate.Definition] | None = None

    def run(self, cases: Iterable[Case], report: Callable[[str], None]) -> Results:
        rows = []
        cases = list(cases)
        if self.device == "cpu":
            keep_freed_memory()
        threads_before = torch.get_num_threads()
        start = time.perf_counter()
        try:
            # A compiled backward that gave its buffers away could not be called again.
            with functorch_config.patch(donated_buffer=False):
                for number, case in enumerate(cases, 1):
                    if time.perf_counter() - start > self.time_limit:
                        self.left_out = cases[number - 1 :]
                        break
                    report(f"[{number}/{len(cases)}] {case.name}")
                    drawn = arguments(case, self.device)
                    for threads in self.threads:
                        torch.set_num_threads(threads)
                        self._measure_products(case.dtype, threads)
                        rows += self._measure(case, drawn, threads)
        finally:
            torch.set_num_threads(threads_before)
        return Results(rows, self._flops_per_second)

    def _measure_products(self, dtype: torch.dtype, threads: int) -> None:
        """The best that was seen: again for every case, since the machine has slow spells."""
        rate = timing.matrix_product_rate(dtype, self.device, threads)
        best = self._flops_per_second.get((dtype, threads), 0.0)
        self._flops_per_second[dtype, threads] = max(best, rate)

    def _measure(self, case: Case, drawn: Arguments, threads: int) -> list[Row]:
        device, largest = self.device, max(self.threads)
        op, peers = case.operation, case.operation.peers(case)
        functions = {**op.implementations, **{name: each.function for name, each in peers.items()}}
        if torch.device(device).type == "cuda":
            functions |= op.paths(case)
        functions[COMPILED] = torch.compile(
            op.implementations[BASELINE], fullgraph=True, dynamic=False
        )
        rows: list[Row] = []
        calls: dict[str, Function] = {}
        for name, function in functions.items():
            row = Row(case, threads, name)
            rows.append(row)
            # Code is generated for a number of threads; the largest is the one that is used.
            if (name in peers or name == COMPILED) and threads != largest:
                row.status, row.note = LEFT_OUT, FEWER_THREADS
            elif name == COMPILED or (name in peers and peers[name].compiled):
                self._admit_compiled(row, function, drawn, calls)
            else:
                self._admit(row, function, drawn, calls)
        yardsticks = {FLOOR: floor(drawn), COPY: copy(case, device)}
        rows += [Row(case, threads, name) for name in yardsticks]
        timings = timing.time_all({**calls, **yardsticks}, device, threads, self.seconds)
        for each in rows:
            each.timing = timings.get(each.implementation)
            if each.implementation in calls and threads == largest:
                each.peak_bytes = memory.peak_bytes(calls[each.implementation], device)
        return rows

    def _admit_compiled(
        self, row: Row, compiled: Function, drawn: Arguments, calls: dict[str, Function]
    ) -> None:
        spent = self._compile_seconds.get(row.implementation, 0.0)
        if spent >= self.compile_budget:
            row.status, row.note = LEFT_OUT, PAST_BUDGET
            return
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        torch._dynamo.reset()
        start = time.perf_counter()
        self._admit(row, compiled, drawn, calls)
        row.compile_seconds = time.perf_counter() - start
        self._compile_seconds[row.implementation] = spent + row.compile_seconds

    def _admit(
        self, row: Row, function: Function, drawn: Arguments, calls: dict[str, Function]
    ) -> None:
        """Adds the implementation to ``calls`` if its results are right."""
        gradients = row.case.direction != "forward"
        try:
            results = gate.evaluate(function, drawn, gradients)
            verdict = self._define(row.case, drawn).judge(results, row.implementation == OURS)
            row.errors = verdict.errors
            if verdict.wrong:
                row.status, row.note = WRONG, str(verdict)
                return
            if gradients and row.threads == max(self.threads):
                kept = memory.saved(partial(function, **inputs_of(drawn, True)))
                row.saved_bytes = sum(kept.values())
            calls[row.implementation] = prepare(function, drawn, row.case.direction)
        except Exception as problem:
            row.status = FAILED
            row.note = f"{type(problem).__name__}: {str(problem).strip().splitlines()[0]}"

    def _define(self, case: Case, drawn: Arguments) -> gate.Definition:
        if self._definition is None or self._definition[0] != case.data:
            self._definition = None  # before the next one takes its memory
            self._definition = (case.data, gate.Definition(case, drawn))
        return self._definition[1]


def floor(drawn: Arguments) -> Function:
    """An addition that reads two and writes one map of the result's shape, type and layout; of a
    result that is one number, of the largest argument's."""
    first = drawn["grad"]
    if first.dim() == 0:
        maps = (tensor for tensor in drawn.values() if tensor.is_floating_point())
        first = max(maps, key=torch.Tensor.numel)
    second, out = torch.ones_like(first), torch.empty_like(first)
    return lambda: torch.add(first, second, out=out)


def copy(case: Case, device: str) -> Function:
    """A copy that moves, reading and writing, as many bytes as the op has to."""
    source = torch.ones(max(cost(case).bytes // 2, 1), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)
