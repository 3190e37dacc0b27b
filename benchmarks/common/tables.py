"""Every table, on the screen and in a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tabulate import tabulate


def table(head: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """In Markdown. The first ``left`` columns are text, the others numbers."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    align = ["left" if number < left else "right" for number in range(len(head))]
    if not cells:  # which tabulate aligns nothing for
        return tabulate([], head, "pipe")
    return tabulate(cells, head, "pipe", colalign=align, disable_numparse=True)


def number(value: float | None, digits: int, scale: float = 1.0) -> str:
    """Nothing where there is no value."""
    return "" if value is None else f"{scale * value:.{digits}f}"


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"
