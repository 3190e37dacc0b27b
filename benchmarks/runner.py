"""Runs the cases: draw the arguments, pass the gate, take the time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch._functorch import config as functorch_config

from scrn_ops._core.allocator import keep_freed_memory

from . import gate, memory, peers, timing
from .cases import AnyCase
from .cost import cost
from .ops import (
    BASELINE,
    COMPILED,
    COPY,
    FLOOR,
    OPS,
    OURS,
    Arguments,
    Function,
    arguments,
    implementations,
)

PATHS = tuple(name for op in OPS.values() for name in op.paths)
PEERS = (COMPILED, peers.DEFORM, peers.SDPA, peers.FLEX, *PATHS)
YARDSTICKS = (FLOOR, COPY)
OK, WRONG, FAILED, LEFT_OUT = "ok", "wrong", "failed", "left out"
FEWER_THREADS = "left out, measured at the largest number of threads"
PAST_BUDGET = "left out, compilation takes too long"


@dataclass
class Row:
    """What one implementation made of one case."""

    case: AnyCase
    threads: int
    implementation: str
    status: str = OK
    note: str = ""
    timing: timing.Timing | None = None
    errors: dict[str, float] = field(default_factory=dict)
    compile_seconds: float | None = None
    peak_bytes: int | None = None  # of one call, beside its arguments
    saved_bytes: int | None = None  # for the backward, arguments included

    @property
    def is_failure(self) -> bool:
        """A wrong result always is; a peer that cannot run here says so in its row and no more."""
        return self.status == WRONG or (self.status == FAILED and self.implementation not in PEERS)


@dataclass
class Options:
    device: str
    threads: tuple[int, ...]
    seconds: float  # of timing for each implementation
    compile_budget: float  # seconds of compilation in all, for each implementation
    time_limit: float = float("inf")  # seconds after which no further case is begun


class Runner:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.compile_seconds: dict[str, float] = {}  # by implementation
        self.left_out: list[AnyCase] = []
        self.flops_per_second: dict[tuple[torch.dtype, int], float] = {}
        self._definition: tuple[AnyCase, gate.Definition] | None = None

    def run(self, cases: Iterable[AnyCase], report: Callable[[str], None]) -> list[Row]:
        rows = []
        cases = list(cases)
        if self.options.device == "cpu":
            keep_freed_memory()
        threads_before = torch.get_num_threads()
        start = time.perf_counter()
        try:
            # A compiled backward that gave its buffers away could not be called again.
            with functorch_config.patch(donated_buffer=False):
                for number, case in enumerate(cases, 1):
                    if time.perf_counter() - start > self.options.time_limit:
                        self.left_out = cases[number - 1 :]
                        break
                    report(f"[{number}/{len(cases)}] {case.name}")
                    drawn = arguments(case, self.options.device)
                    for threads in self.options.threads:
                        torch.set_num_threads(threads)
                        self._measure_products(case.dtype, threads)
                        rows += self._measure(case, drawn, threads)
        finally:
            torch.set_num_threads(threads_before)
        return rows

    def _measure_products(self, dtype: torch.dtype, threads: int) -> None:
        """The best that was seen: again for every case, since the machine has slow spells."""
        rate = timing.matrix_product_rate(dtype, self.options.device, threads)
        best = self.flops_per_second.get((dtype, threads), 0.0)
        self.flops_per_second[dtype, threads] = max(best, rate)

    def _measure(self, case: AnyCase, drawn: Arguments, threads: int) -> list[Row]:
        rows, calls = [], {}
        for name, function in implementations(case, self.options.device).items():
            row = Row(case, threads, name)
            rows.append(row)
            if name in (peers.DEFORM, peers.SDPA) and threads != max(self.options.threads):
                row.status, row.note = LEFT_OUT, FEWER_THREADS
            elif name == peers.FLEX:
                self._admit_compiled(row, function, drawn, calls)
            else:
                self._admit(row, function, drawn, calls)
        row = Row(case, threads, COMPILED)
        rows.append(row)
        baseline = OPS[case.op].implementations[BASELINE]
        compiled = torch.compile(baseline, fullgraph=True, dynamic=False)
        self._admit_compiled(row, compiled, drawn, calls)
        yardsticks = {FLOOR: floor(case, drawn), COPY: copy(case, self.options.device)}
        rows += [Row(case, threads, name) for name in yardsticks]
        timings = timing.time_all(
            {**calls, **yardsticks}, self.options.device, threads, self.options.seconds
        )
        for each in rows:
            each.timing = timings.get(each.implementation)
            if each.implementation in calls and threads == max(self.options.threads):
                each.peak_bytes = memory.peak_bytes(calls[each.implementation], self.options.device)
        return rows

    def _admit_compiled(
        self, row: Row, compiled: Function, drawn: Arguments, calls: dict[str, Function]
    ) -> None:
        # Code is generated for a number of threads; the largest is the one that is used.
        if row.threads != max(self.options.threads):
            row.status, row.note = LEFT_OUT, FEWER_THREADS
            return
        if self.compile_seconds.get(row.implementation, 0.0) >= self.options.compile_budget:
            row.status, row.note = LEFT_OUT, PAST_BUDGET
            return
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        torch._dynamo.reset()
        start = time.perf_counter()
        self._admit(row, compiled, drawn, calls)
        row.compile_seconds = time.perf_counter() - start
        spent = self.compile_seconds.get(row.implementation, 0.0)
        self.compile_seconds[row.implementation] = spent + row.compile_seconds

    def _admit(
        self, row: Row, function: Function, drawn: Arguments, calls: dict[str, Function]
    ) -> None:
        """Adds the implementation to ``calls`` if its results are right."""
        try:
            results = gate.evaluate(function, drawn, row.case.direction != "forward")
            verdict = self._define(row.case, drawn).judge(results, row.implementation == OURS)
            row.errors = verdict.errors
            if verdict.wrong:
                row.status, row.note = WRONG, str(verdict)
                return
            if row.case.direction != "forward" and row.threads == max(self.options.threads):
                row.saved_bytes = memory.saved_bytes(forward_of(function, drawn))
            calls[row.implementation] = prepare(function, drawn, row.case.direction)
        except Exception as problem:
            row.status = FAILED
            row.note = f"{type(problem).__name__}: {str(problem).strip().splitlines()[0]}"

    def _define(self, case: AnyCase, drawn: Arguments) -> gate.Definition:
        if self._definition is None or self._definition[0] != case.data:
            self._definition = None  # before the next one takes its memory
            self._definition = (case.data, gate.Definition(case, drawn))
        return self._definition[1]


def forward_of(function: Function, drawn: Arguments) -> Callable[[], Tensor]:
    """A forward that will be differentiated by every argument."""
    leaves = {
        name: tensor.detach().requires_grad_() for name, tensor in drawn.items() if name != "grad"
    }
    return lambda: function(**leaves)


def prepare(function: Function, drawn: Arguments, direction: str) -> Function:
    """What is timed."""
    inputs = {name: tensor.detach() for name, tensor in drawn.items() if name != "grad"}
    if direction == "forward":

        def forward() -> object:
            with torch.no_grad():
                return function(**inputs)

        return forward
    leaves = [tensor.requires_grad_() for tensor in inputs.values()]
    if direction == "both":
        grad = drawn["grad"]
        return lambda: torch.autograd.grad(function(**inputs), leaves, grad)
    output = function(**inputs)
    grad = drawn["grad"].to(output.dtype)
    return lambda: torch.autograd.grad(output, leaves, grad, retain_graph=True)


def floor(case: AnyCase, drawn: Arguments) -> Function:
    """An addition that reads two and writes one map of the result's shape, type and layout."""
    first = drawn["grad"]
    second, out = torch.ones_like(first), torch.empty_like(first)
    return lambda: torch.add(first, second, out=out)


def copy(case: AnyCase, device: str) -> Function:
    """A copy that moves, reading and writing, as many bytes as the op has to."""
    source = torch.ones(max(cost(case).bytes // 2, 1), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)
