"""``python -m benchmarks``: the ops against the chain that they replace, on this machine.

Every implementation is first compared with the definition in float64; one that is wrong is not
timed, and the exit status is 1. On a machine that was disturbed nothing is judged, and it is 2.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from . import summary
from .common import environment, yardstick
from .ops import bars, base, cases
from .ops.report import page
from .ops.results import Document
from .ops.run import Runner

# Seconds of compiling each implementation, and after which no further case is begun.
QUICK_COMPILE_BUDGET, QUICK_TIME_LIMIT = 20.0, 110.0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="two shapes, under two minutes, instead of every case"
    )
    parser.add_argument(
        "--filter",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="only cases whose name has all of these, e.g. offset_sample bfloat16 backward",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--threads",
        type=_threads,
        metavar="N[,N]",
        help="numbers of threads on a CPU (default 1,2; one for a machine with one core)",
    )
    parser.add_argument(
        "--seconds", type=float, help="of timing per implementation (quick 0.2, else 1)"
    )
    parser.add_argument("--no-compile", action="store_true", help="without the torch.compile rows")
    parser.add_argument(
        "--out",
        type=Path,
        default=summary.OUT,
        metavar="DIR",
        help=f"for results.json (default {summary.OUT}); benchmarks.summary adds the report",
    )
    parser.add_argument(
        "--base", metavar="REV", help="the same cases with that commit's ops, for comparison"
    )
    parser.add_argument("--list", action="store_true", help="print the cases' names and stop")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    device = options.device.split(":")[0]
    chosen = [
        case
        for case in (cases.quick() if options.quick else cases.full(device))
        if all(text in case.name for text in options.filter)
    ]
    if not chosen:
        print(f"--filter: no case has all of {options.filter}; --list shows them", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(case.name for case in chosen))
        return 0
    facts = environment.describe(options.device)
    print(environment.headline(facts))
    threads = options.threads or _default_threads(device)
    compile_budget = QUICK_COMPILE_BUDGET if options.quick else float("inf")
    runner = Runner(
        device=options.device,
        threads=threads,
        seconds=options.seconds or (0.2 if options.quick else 1.0),
        compile_budget=0.0 if options.no_compile else compile_budget,
        time_limit=QUICK_TIME_LIMIT if options.quick else float("inf"),
    )
    start = time.perf_counter()
    first = yardstick.measure(options.device, max(threads))
    results = runner.run(chosen, lambda text: print(text, file=sys.stderr, flush=True))
    last = yardstick.measure(options.device, max(threads))
    facts["left_out"] = [case.name for case in runner.left_out]
    facts["yardstick"] = {"first": yardstick.to_json(first), "last": yardstick.to_json(last)}
    print("", *page.measured(results), sep="\n")
    print(f"\n{len(chosen)} cases in {time.perf_counter() - start:.0f} s\n")
    read = Document(facts, results)
    if options.base:
        print(f"the same with {options.base}")
        # A later --out takes the place of an earlier one.
        only_base = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        only_base.add_argument("--base")
        _, others = only_base.parse_known_args(argv)
        read.base = base.measure(options.base, others, device)
    disturbed = yardstick.disturbance(first, last)
    if disturbed is None and read.base is not None:
        disturbed = read.base.environment.get("disturbed")
    facts["disturbed"] = disturbed
    if device == "cpu" and not disturbed:
        read.bars = bars.judge(results)
    if read.bars:
        print(*page.bars(read.bars), "", sep="\n")
    read.write(options.out / summary.RESULTS)
    if runner.left_out:
        print(f"{len(runner.left_out)} cases left out: the time was up")
    print(f"written: {options.out / summary.RESULTS}")
    if disturbed:
        print(yardstick.sentence(disturbed))
    if results.failures:
        print(f"{len(results.failures)} rows refused or failed")
        return 1
    return yardstick.CANNOT_JUDGE if disturbed else 0


def _threads(text: str) -> tuple[int, ...]:
    numbers = tuple(int(each) for each in text.split(","))
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"expected numbers of at least 1, got {text!r}")
    return numbers


def _default_threads(device: str) -> tuple[int, ...]:
    if device != "cpu":
        return (torch.get_num_threads(),)
    return (1, 2) if torch.get_num_threads() > 1 else (1,)


if __name__ == "__main__":
    sys.exit(main())
