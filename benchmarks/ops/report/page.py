"""The tables of a run, for the screen and the report, and the README's section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...common import environment
from ...common.tables import number, percent, table
from ..bars import MISSED, speedup_text
from ..case import BASELINE, COMPILED, OURS, Case
from ..cases import case_of
from ..cost import cost
from ..derived import H200_BYTES_PER_SECOND, Derived
from ..results import FLOOR, LEFT_OUT, WRONG, YARDSTICKS, Document, Results, Row


def report(
    document: Document,
    pictures: Sequence[str],
    derived: Sequence[Derived],
    network: dict[str, Any] | None,
) -> str:
    facts = document.environment
    lines = ["# Benchmark report", "", *environment.headline(facts).splitlines(), ""]
    lines += [f"Measured {facts['date']}.", ""]
    for picture in pictures:
        lines += [f"![{picture}]({picture})", ""]
    if facts.get("left_out"):
        lines += [f"Left out, the time was up: {', '.join(facts['left_out'])}.", ""]
    lines += measured(document.results)
    if document.bars:
        lines += ["", *bars(document.bars)]
    if document.base is not None:
        lines += ["", *_base(document, document.base)]
    if network is not None:
        lines += ["", *network_lines(network)]
    if derived:
        lines += ["", *_derived(derived)]
    return "\n".join(lines) + "\n"


def measured(results: Results) -> Iterator[str]:
    groups = results.groups()
    losing = [key for key in groups if results.lead(*key) < 1]
    yield "## Measured: slower than something else, or refused"
    yield ""
    if losing:
        yield _rows(results, losing)
    else:
        yield f"None: {OURS} is the fastest in each of {len(groups)} cases."
    yield ""
    yield "## Measured: faster than everything else, the smallest lead first"
    yield ""
    yield _rows(results, groups[len(losing) :])
    yield ""
    yield (
        f"x: time in units of the {OURS} op's; add: in units of {FLOOR}, which writes the same "
        "output. floor: share of the speed of a copy of as many bytes as the op has to move, or of "
        "a matrix product of as many operations, whichever takes longer. GB/s and TFLOP/s count "
        "what the op has to move and to compute, whatever the row does. peak: of what one call "
        "allocates; kept: for the backward, arguments included."
    )


def _rows(results: Results, groups: Sequence[tuple[Case, int]]) -> str:
    head = ("case", "threads", "row", "best ms", "median ms", "x", "add", "of floor", "GB/s",
            "TFLOP/s", "peak MB", "kept MB")  # fmt: skip
    made = []
    for group, threads in groups:
        for case in group.in_layouts:
            for name in (*results.names(group, threads), *YARDSTICKS):
                row = results.row(case, threads, name)
                if row is not None and row.status != LEFT_OUT:
                    made.append((case.name, threads, *_cells(results, row)))
    return table(head, made, 3)


def _cells(results: Results, row: Row) -> tuple[str, ...]:
    if row.timing is None:
        status = f"**{row.status}**" if row.status == WRONG else row.status
        return f"{row.implementation} ({status}: {row.note})", *[""] * 9
    case, threads, name = row.case, row.threads, row.implementation
    least, best, yardstick = cost(case), row.timing.best, name in YARDSTICKS
    return (
        name,
        number(best, 3, 1e3),
        number(row.timing.median, 3, 1e3),
        number(results.ratio(case, threads, name, OURS), 2),
        "" if yardstick else number(results.ratio(case, threads, name, FLOOR), 1),
        "" if yardstick else percent(results.share_of_floor(case, threads, name)),
        "" if name == FLOOR else number(least.bytes / best, 1, 1e-9),
        "" if yardstick else number(least.flops / best, 3, 1e-12),
        number(row.peak_bytes, 1, 1e-6),
        number(row.saved_bytes, 1, 1e-6),
    )


def bars(bars: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"## Targets on a CPU, {bars[0]['threads']} threads"
    yield ""
    rows = []
    for bar in bars:
        aim = "" if bar["aim_additions"] is None else f" ({bar['aim_additions']:g})"
        rows.append(
            (
                case_of(bar).name,
                "the same layout" if len(bar["over_layouts"]) == 1 else "its faster layout",
                f"x{bar['required']:g}",
                "" if bar["moonshot"] is None else f"x{bar['moonshot']:g}",
                speedup_text(bar["speedup"]),
                bar["verdict"],
                number(bar["additions"], 1) + aim,
                number(bar.get("copies"), 1),  # not in older files
            )
        )
    head = ("case", "over eager in", "target", "stretch", "measured", "verdict",
            "units of add (target)", "of copy")  # fmt: skip
    yield table(head, rows, 2)


def _base(document: Document, base: Document) -> Iterator[str]:
    yield f"## Against {base.environment['commit']}"
    yield ""
    yield "The fused op there, on the same machine right after; below 1 it was faster there."
    yield ""
    rows = []
    for row in document.results.rows:
        if row.implementation == OURS:
            now = document.results.seconds(row.case, row.threads, OURS)
            then = base.results.seconds(row.case, row.threads, OURS)
            if now is not None and then is not None:
                cells = (f"{1e3 * then:.3f}", f"{1e3 * now:.3f}", f"{then / now:.2f}")
                rows.append((row.case.name, row.threads, *cells))
    rows.sort(key=lambda cells: float(cells[-1]))
    yield table(("case", "threads", "there ms", "here ms", "x"), rows)


def network_lines(network: dict[str, Any]) -> Iterator[str]:
    facts = network["environment"]
    yield f"## The whole network: {facts['backbone']}, {facts['image']}"
    for size in network["sizes"]:
        yield ""
        yield f"{size['size'][0]}x{size['size'][1]}, {facts['threads']} threads:"
        yield ""
        if size["wrong"]:
            yield f"Refused, wrong logits: {', '.join(size['wrong'])}."
            continue
        first = min(size["variants"][0]["seconds"])
        rows = []
        for variant in size["variants"]:
            best, parts = min(variant["seconds"]), variant["parts"]
            share = ""
            if parts:
                total = sum(parts.values()) / 100
                share = f"{parts['SRM'] / total:.1f} %, {parts['DNL'] / total:.1f} %"
            cells = (number(best, 0, 1e3), number(1 / best, 2), number(first / best, 2))
            rows.append((variant["name"], *cells, number(variant["peak_bytes"], 0, 1e-6), share))
        yield table(("variant", "best ms", "images/s", "x", "peak MB", "share of SRM, DNL"), rows)
    yield ""
    yield f"Measured {facts['date']} at {facts['commit']}."


def _derived(derived: Sequence[Derived]) -> Iterator[str]:
    yield "## Derived, not measured: the CUDA cases on an H200"
    yield ""
    yield (
        "Nothing in this table was timed. bytes: arguments read once and results written once. "
        f"floor: bytes at {H200_BYTES_PER_SECOND / 1e12:g} TB/s (a copy, read plus written), or "
        "operations at 788 TFLOP/s (half types) or 67 TFLOP/s (float32), whichever takes longer. "
        "launches of eager: operators of torch that are no views, a lower bound. occupancy: by "
        "the compiled kernels' registers and shared memory for sm_90, where the library is built."
    )
    yield ""
    rows = []
    for each in derived:
        held = ", ".join(f"{name} {percent(share)}" for name, share in each.occupancy.items())
        floor = number(each.floor_seconds, 1, 1e6)
        cells = (number(each.cost.bytes, 2, 1e-6), number(each.cost.flops, 3, 1e-9), floor)
        rows.append((each.case.name, held, *cells, each.eager_launches, each.launches))
    head = ("case", "occupancy", "MB", "GFLOP", "floor us", "launches: eager", "fused")
    yield table(head, rows, 2)


def readme(document: Document, network: dict[str, Any] | None) -> str:
    """A section of a page: what was measured at the largest number of threads."""
    results, threads = document.results, document.results.threads
    groups = [group for group, _ in results.groups(threads)]
    losing = sum(results.lead(group, threads) < 1 for group in groups)
    facts = document.environment
    where = facts.get("gpu") or f"{facts['cpu']}, {threads} threads, {facts['instruction_set']}"
    rows: list[tuple[str, ...]] = []
    met: dict[str, None] = {}
    for case in results.shown():
        ratios = {name: results.ratio(case, threads, name, OURS)
                  for name in results.names(case, threads) if name != OURS}  # fmt: skip
        others = {name: ratio for name, ratio in ratios.items() if ratio is not None}
        peers = {name: other for name, other in others.items() if name not in (BASELINE, COMPILED)}
        peer = min(peers, key=lambda name: peers[name], default=None)
        known = case.operation.peers(case)
        met |= dict.fromkeys(known[name].about for name in peers if name in known)
        ours, eager = (results.row(case, threads, name) for name in (OURS, BASELINE))
        own, peaks = (
            results.seconds(case, threads, OURS),
            [row and row.peak_bytes for row in (ours, eager)],
        )
        rows.append((
            case.name,
            "refused" if own is None else number(own, 2, 1e3),
            *(speedup_text(others.get(name)) for name in (BASELINE, COMPILED)),
            "" if peer is None else f"{speedup_text(peers[peer])} ({peer})",
            percent(results.share_of_floor(case, threads, OURS)),
            " / ".join(number(peak, 1, 1e-6) for peak in peaks) if all(peaks) else "",
        ))  # fmt: skip
    head = ("case", "fused, ms", "over eager", "over torch.compile", "over a peer", "of the floor",
            "peak MB, fused / eager")  # fmt: skip
    lines = [
        f"Measured on {where}, torch {facts['torch']}; the smallest lead first. {OURS} is the "
        f"fastest in {len(groups) - losing} of the {len(groups)} cases, each in its layouts.",
        "",
        table(head, rows),
        "",
        "The floor is what a copy of as many bytes takes (or a matrix product of as many "
        "operations)." + (f" Peers: {', '.join(sorted(met))}." if met else ""),
    ]
    if document.bars:
        missed = sum(bar["verdict"] == MISSED for bar in document.bars)
        lines += ["", f"Targets that `make bench` lists: {len(document.bars)}, missed: {missed}."]
    if facts.get("left_out"):
        lines += ["", f"Not measured, the time was up: {', '.join(facts['left_out'])}."]
    if network is not None:
        lines += ["", *(line.replace("## ", "### ") for line in network_lines(network))]
    return "\n".join(lines)


def network_lead(network: dict[str, Any]) -> str:
    """Of the whole network with all fused ops over that with eager ones, otherwise alike."""
    facts, found = network["environment"], []
    for size in network["sizes"]:
        best = {each["name"]: min(each["seconds"]) for each in size["variants"]}
        eager = [name for name in best if name.startswith(BASELINE)][-1]
        ours = [name for name in best if name.startswith(OURS)][-1]
        height, width = size["size"]
        found.append(f"{speedup_text(best[eager] / best[ours])} at {height}x{width}")
    return (
        f"{facts['backbone']} on the same CPU, over the same network with PyTorch's operators: "
        f"{', '.join(found)}"
    )
