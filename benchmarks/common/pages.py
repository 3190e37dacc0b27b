"""Parts of a page of Markdown that a command writes: what is between ``<!-- name -->`` and
``<!-- /name -->``."""

from __future__ import annotations


def marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def filled(page: str, name: str, text: str) -> str:
    """The page with that text between the marks.

    Raises:
        ValueError: the page lacks one of the marks, has one twice, or has them in the wrong order.
    """
    begin, end = marks(name)
    for mark in (begin, end):
        if page.count(mark) != 1:
            raise ValueError(f"expected {mark} once in the page, got {page.count(mark)}")
    before, rest = page.split(begin)
    if end not in rest:
        raise ValueError(f"expected {begin} before {end} in the page, got it behind")
    after = rest.split(end)[1]
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}"
