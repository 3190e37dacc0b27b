"""The report and the README's section, from the JSON of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from . import environment, peers
from .bars import speedup_text
from .cases import AnyCase
from .derived import H200_BYTES_PER_SECOND, Derived
from .document import Document
from .ops import BASELINE, COMPILED, FLOOR, OURS
from .pictures import threads_of
from .results import Results
from .runner import LEFT_OUT, WRONG, YARDSTICKS, Row


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    """The first ``left`` columns are text, the others numbers."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "|".join("---" if n < left else "---:" for n in range(len(head))) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def report(
    document: Document,
    pictures: Sequence[str],
    derived: Sequence[Derived],
    network: dict[str, Any] | None,
) -> str:
    lines = ["# Benchmark report", "", *environment.headline(document.environment).splitlines(), ""]
    lines += [f"Measured {document.environment['date']}.", ""]
    for picture in pictures:
        lines += [f"![{picture}]({picture})", ""]
    left_out = document.environment.get("left_out")
    if left_out:
        lines += [f"Left out, the time was up: {', '.join(left_out)}.", ""]
    lines += _measured(document)
    if document.bars:
        lines += ["", "## Targets of semantic_refine on a CPU", "", *_bars(document.bars)]
    if document.base is not None:
        lines += ["", *_base(document, document.base)]
    if network is not None:
        lines += ["", *network_lines(network)]
    if derived:
        lines += ["", *_derived(derived)]
    return "\n".join(lines) + "\n"


def _measured(document: Document) -> Iterator[str]:
    results = document.results
    groups = results.groups()
    losing = [key for key in groups if results.lead(*key) < 1]
    yield "## Measured: slower than something else, or refused"
    yield ""
    if losing:
        yield from _rows(results, losing)
    else:
        yield f"None: {OURS} is the fastest in each of {len(groups)} cases."
    yield ""
    yield "## Measured: faster than everything else, the smallest lead first"
    yield ""
    yield from _rows(results, groups[len(losing) :])
    yield ""
    yield (
        f"x: time in units of the {OURS} op's. floor: share of the speed of a copy of as many "
        "bytes as the op has to move, or of a matrix product of as many operations, whichever "
        f"takes longer; {FLOOR} writes the same output. GB/s and TFLOP/s count what the op has to "
        "move and to compute, whatever the row does. peak: of what one call allocates; kept: for "
        "the backward, arguments included."
    )


def _rows(results: Results, groups: Sequence[tuple[AnyCase, int]]) -> Iterator[str]:
    head = ("case", "threads", "row", "best ms", "median ms", "x", "of floor", "GB/s", "TFLOP/s",
            "peak MB", "kept MB")  # fmt: skip
    made = []
    for group, threads in groups:
        for case in group.in_layouts:
            for name in (*results.names(group, threads), *YARDSTICKS):
                row = results.row(case, threads, name)
                if row is not None and row.status != LEFT_OUT:
                    made.append((case.name, str(threads), *_cells(results, row)))
    yield from table(head, made, 3)


def _cells(results: Results, row: Row) -> tuple[str, ...]:
    if row.timing is None:
        note = (
            f"**{row.status}**: {row.note}" if row.status == WRONG else f"{row.status}: {row.note}"
        )
        return f"{row.implementation} ({note})", *[""] * 8
    case, threads, name = row.case, row.threads, row.implementation
    ratio = results.ratio(case, threads, name, OURS, (case.layout,))
    floor = results.floor_seconds(case, threads)
    moved, done = results.rates(case, threads, name)
    yardstick = name in YARDSTICKS
    return (
        name,
        f"{1e3 * row.timing.best:.3f}",
        f"{1e3 * row.timing.median:.3f}",
        "" if ratio is None else f"{ratio:.2f}",
        "" if floor is None or yardstick else f"{100 * floor / row.timing.best:.0f} %",
        "" if name == FLOOR else f"{moved / 1e9:.1f}",
        "" if yardstick else f"{done / 1e12:.3f}",
        "" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.1f}",
        "" if row.saved_bytes is None else f"{row.saved_bytes / 1e6:.1f}",
    )


def _bars(bars: Sequence[dict[str, Any]]) -> Iterator[str]:
    head = ("direction", "layout", "over eager in", "output", "target", "stretch", "measured",
            "verdict", "units of add (target)", "of copy")  # fmt: skip
    rows = []
    for bar in bars:
        same = len(bar["over_layouts"]) == 1
        add = "" if bar["additions"] is None else f"{bar['additions']:.1f}"
        copies = bar.get("copies")  # not in older files
        aim = "" if bar["aim_additions"] is None else f" ({bar['aim_additions']:g})"
        rows.append(
            (
                bar["direction"],
                bar["layout"],
                "the same layout" if same else "its faster layout",
                "x".join(map(str, bar["size"])),
                f"x{bar['required']:g}",
                "" if bar["moonshot"] is None else f"x{bar['moonshot']:g}",
                speedup_text(bar["speedup"]),
                bar["verdict"],
                add + aim,
                "" if copies is None else f"{copies:.1f}",
            )
        )
    yield from table(head, rows, 4)


def _base(document: Document, base: Document) -> Iterator[str]:
    yield f"## Against {base.environment['commit']}"
    yield ""
    yield "The fused op there, on the same machine right after; below 1 it was faster there."
    yield ""
    rows = []
    for row in document.results.rows:
        if row.implementation != OURS:
            continue
        now = document.results.seconds(row.case, row.threads, OURS)
        then = base.results.seconds(row.case, row.threads, OURS)
        if now is not None and then is not None:
            cells = (f"{1e3 * then:.3f}", f"{1e3 * now:.3f}", f"{then / now:.2f}")
            rows.append((row.case.name, str(row.threads), *cells))
    rows.sort(key=lambda cells: float(cells[-1]))
    yield from table(("case", "threads", "there ms", "here ms", "x"), rows)


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
            best = min(variant["seconds"])
            parts = variant["parts"] or {}
            total = sum(parts.values())
            share = "" if not parts else (
                f"{100 * parts['SRM'] / total:.1f} %, {100 * parts['DNL'] / total:.1f} %"
            )  # fmt: skip
            cells = (f"{1e3 * best:.0f}", f"{1 / best:.2f}", f"{first / best:.2f}")
            peak = variant["peak_bytes"]
            rows.append((variant["name"], *cells, f"{(peak or 0) / 1e6:.0f}", share))
        head = ("variant", "best ms", "images/s", "x", "peak MB", "share of SRM, DNL")
        yield from table(head, rows)
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
        held = ", ".join(f"{name} {100 * share:.0f} %" for name, share in each.occupancy.items())
        rows.append(
            (
                each.case.name,
                held,
                f"{each.cost.bytes / 1e6:.2f}",
                f"{each.cost.flops / 1e9:.3f}",
                f"{1e6 * each.floor_seconds:.1f}",
                str(each.eager_launches),
                "" if each.launches is None else str(each.launches),
            )
        )
    head = ("case", "occupancy", "MB", "GFLOP", "floor us", "launches: eager", "fused")
    yield from table(head, rows, 2)


def readme(document: Document, network: dict[str, Any] | None) -> str:
    """The README's section: what was measured at the largest number of threads."""
    results, threads = document.results, threads_of(document.results)
    groups = [group for group, count in results.groups() if count == threads]
    losing = sum(results.lead(group, threads) < 1 for group in groups)
    facts = document.environment
    where = facts.get("gpu") or f"{facts['cpu']}, {threads} threads, {facts['instruction_set']}"
    rows: list[tuple[str, ...]] = []
    met: set[str] = set()
    for group in groups:
        for case in group.in_layouts:
            ours = results.row(case, threads, OURS)
            if ours is None or ours.timing is None:
                continue
            others = {
                name: results.ratio(case, threads, name, OURS, (case.layout,))
                for name in results.names(group, threads)
                if name != OURS
            }
            best = {
                name: ratio
                for name, ratio in others.items()
                if ratio is not None and name not in (BASELINE, COMPILED)
            }
            peer = min(best, key=lambda name: best[name], default=None)
            met.update(best)
            eager = results.row(case, threads, BASELINE)
            shrink = ""
            if eager is not None and eager.peak_bytes and ours.peak_bytes:
                shrink = f"{ours.peak_bytes / 1e6:.1f} / {eager.peak_bytes / 1e6:.1f}"
            floor = results.floor_seconds(case, threads)
            rows.append(
                (
                    case.name.replace("_", r"\_"),
                    f"{1e3 * ours.timing.best:.2f}",
                    *(speedup_text(others.get(name)) for name in (BASELINE, COMPILED)),
                    "" if peer is None else f"{speedup_text(best[peer])} ({peer})",
                    "" if floor is None else f"{100 * floor / ours.timing.best:.0f} %",
                    shrink,
                )
            )
    head = ("case", "fused, ms", "over eager", "over torch.compile", "over a peer", "of the floor",
            "peak MB, fused / eager")  # fmt: skip
    lines = [
        f"Measured on {where}, torch {facts['torch']}; the smallest lead first. {OURS} is the "
        f"fastest in {len(groups) - losing} of the {len(groups)} cases, each in its layouts.",
        "",
        *table(head, rows),
        "",
        "The floor is what a copy of as many bytes takes (or a matrix product of as many "
        f"operations). {_peers(met)}".rstrip(),
    ]
    if document.bars:
        missed = sum(bar["verdict"] == "MISSED" for bar in document.bars)
        lines += ["", f"Targets that `make bench` lists: {len(document.bars)}, missed: {missed}."]
    if facts.get("left_out"):
        lines += ["", f"Not measured, the time was up: {', '.join(facts['left_out'])}."]
    if network is not None:
        lines += ["", *(line.replace("## ", "### ") for line in network_lines(network))]
    return "\n".join(lines)


_PEERS = {
    peers.DEFORM: "torchvision's `deform_conv2d` with an identity kernel",
    peers.SDPA: "torch's `scaled_dot_product_attention` plus the shared term",
    peers.FLEX: "FlexAttention",
}


def _peers(names: set[str]) -> str:
    known = [text for name, text in _PEERS.items() if name in names]
    return f"Peers: {', '.join(known)}." if known else ""
