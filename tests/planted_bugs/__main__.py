"""``python -m tests.planted_bugs``: plants every mistake and shows which ones the tests notice.

What is known is not run again while sources and tests stay as they are: it is kept in
``tests/planted_bugs/outcomes``, so that another machine goes on from there. ``--report --limit 0``
runs nothing, and writes the page of what is known. The exit status is 1 where
a mistake survives without a reason on record, or where fewer than 95 % are noticed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from .engine import report
from .engine.driver import OUTCOMES, Driver, Outcome
from .suites import SUITES

ASKED = 0.95


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.planted_bugs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--limit", type=int, help="stop after so many mutations of each suite")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only those whose name has it")
    parser.add_argument("--again", action="store_true", help="forget what is known of those")
    parser.add_argument(
        "--keep-killed",
        action="store_true",
        help="while tests are written: what other versions of the tests noticed is not run again",
    )
    parser.add_argument("--list", action="store_true", help="print names and what is known, stop")
    parser.add_argument("--report", action="store_true", help=f"write {report.PAGE.name}")
    options = parser.parse_args(argv)
    options.suites = options.suites or list(SUITES)
    for name in options.suites:
        if name not in SUITES:
            parser.error(f"expected suites of {', '.join(SUITES)}, got {name!r}")
    return options


def tell(outcome: Outcome) -> None:
    where = f" by {outcome.by} ({outcome.stage})" if outcome.by else ""
    print(f"{outcome.seconds:6.1f} s  {outcome.status:<10} {outcome.name}{where}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    good = True
    drivers = []
    for name in options.suites:
        driver = Driver(
            SUITES[name], options.jobs, outcomes=OUTCOMES, keep_killed=options.keep_killed
        )
        drivers.append(driver)
        if options.list:
            for mutation in driver.wanted():
                known = driver.outcome(mutation)
                print(f"{known.status if known else '-':<10} {mutation.name}")
            continue
        if options.again:
            driver.forget(options.filter)
        start = time.perf_counter()
        complete = driver.run(options.limit, options.filter, tell)
        summary = report.summary(driver)
        print(f"{summary.text}, {time.perf_counter() - start:.0f} s")
        for line in summary.complaints:
            print(line)
        good = good and complete and not summary.complaints and summary.share >= ASKED
        if not complete:
            print("not all have been run: run again")
    if options.report:
        report.write(drivers)
    return 0 if good or options.list or options.filter else 1


if __name__ == "__main__":
    sys.exit(main())
