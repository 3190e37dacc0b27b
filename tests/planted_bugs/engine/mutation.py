"""One planted mistake, and the tree of sources that has it."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LARGEST_COPY = 1 << 20


class DoesNotApply(ValueError):  # noqa: N818
    """The text that a mutation replaces is not there, or is there more than once."""


@dataclass(frozen=True)
class Mutation:
    """Replaces `old`, which must be in the file exactly once, by `new`.

    A generated mutation also says `at`, the place where `old` stands, `line`, the source line
    around it, and `nth`, which of equal lines and where in it: so it is known when lines move.
    """

    name: str
    file: str  # from the repository's root
    old: str
    new: str
    kind: str = "chosen"  # or what a generator calls it
    at: int | None = None
    line: str = ""
    nth: tuple[int, int] = (0, 0)

    @property
    def identity(self) -> str:
        """A name that does not change when other lines do."""
        if self.at is None:
            return self.name
        change = self.name.split(" ", 1)[1]
        return f"{self.file} {self.nth[0]}:{self.nth[1]} {change} in {self.line}"

    def apply(self, text: str) -> str:
        """The text with the mistake.

        Raises:
            DoesNotApply: see there.
        """
        at = self.at
        if at is None:
            if text.count(self.old) != 1:
                raise DoesNotApply(
                    f"{self.name}: expected once in {self.file}, found {text.count(self.old)} "
                    f"times:\n{self.old}"
                )
            at = text.index(self.old)
        elif not text.startswith(self.old, at):
            raise DoesNotApply(f"{self.name}: {self.file} has no {self.old!r} at {at}")
        if self.old == self.new:
            raise DoesNotApply(f"{self.name}: changes nothing")
        return text[:at] + self.new + text[at + len(self.old) :]

    def mutated(self) -> str:
        return self.apply((ROOT / self.file).read_text())


def planted(file: str, *bugs: tuple[str, str, str] | tuple[str, str, str, str]) -> list[Mutation]:
    """(name, old, new) or (name, old, new, kind) for each."""
    return [Mutation(f"{file}: {name}", file, old, new, *kind) for name, old, new, *kind in bugs]


def plant(mutation: Mutation, tree: Path) -> Path:
    """Copies the directory at the repository's root that holds the file into `tree`, with the
    mistake; large files become links."""
    top = Path(mutation.file).parts[0]
    for source in sorted((ROOT / top).rglob("*")):
        if source.is_dir() or "__pycache__" in source.parts:
            continue
        target = tree / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.stat().st_size > LARGEST_COPY:
            target.symlink_to(source)
        else:
            shutil.copyfile(source, target)
    (tree / mutation.file).write_text(mutation.mutated())
    return tree


def digest(*parts: str | Path) -> str:
    """Of strings and of the contents of files."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        found.update(b"\0")
    return found.hexdigest()[:24]
