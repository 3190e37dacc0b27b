"""Mistakes made by rule: every place in a source where one of them could have been made."""

from __future__ import annotations

import io
import random
import re
import tokenize
from collections.abc import Iterator, Sequence

from .mutation import ROOT, Mutation

# A comparison loses or gains its boundary, or is turned round.
COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
LOGIC = {"&&": "||", "||": "&&", "and": "or", "or": "and"}

Found = tuple[int, str, str, str]  # place, old, new, kind


def candidates(file: str) -> list[Mutation]:
    """Every mistake in a C++ or Python source, in the order of the text."""
    text = (ROOT / file).read_text()
    is_python = file.endswith(".py")
    code = blank_python(text) if is_python else blank_cpp(text)
    found = sorted([*in_any_language(code), *([] if is_python else in_cuda(text, code))])
    return [mutation_at(file, text, *each) for each in found]


def sample(files: Sequence[str], seed: int) -> list[Mutation]:
    """All mistakes of all files, in an order drawn by the seed: take as many as wanted."""
    every = [each for file in sorted(files) for each in candidates(file)]
    random.Random(seed).shuffle(every)
    return every


def mutation_at(file: str, text: str, at: int, old: str, new: str, kind: str) -> Mutation:
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[start:end].strip()
    number = text.count("\n", 0, at) + 1
    shown = f"`{old.strip()}` to `{new.strip()}`" if new.strip(" ;") else f"no `{old.strip(' ;')}`"
    name = f"{file}:{number}:{at - start + 1} {shown}"
    before = [each.strip() for each in text[:start].splitlines()].count(line)
    column = at - start - (len(text[start:end]) - len(text[start:end].lstrip()))
    return Mutation(name, file, old, new, kind, at, line, (before, column))


def in_any_language(code: str) -> Iterator[Found]:
    for match in re.finditer(r"(?<=[\w)\]]) (<=|>=|==|!=|<|>) (?=[\w(*!&~-])", code):
        old = match.group(1)
        yield match.start(1), old, COMPARISONS[old], "comparison"
    for match in re.finditer(r"(?<=[\w)\]]) (&&|\|\||and|or) (?=[\w(*!&~-])", code):
        old = match.group(1)
        yield match.start(1), old, LOGIC[old], "logic"
    for match in re.finditer(r"(?<=[\w)\]]) [+-] 1\b(?![.\w])", code):
        yield match.start(), match.group(), "", "one"


def in_cuda(text: str, code: str) -> Iterator[Found]:
    for match in re.finditer(r"__sync(?:threads|warp)\(\);", code):
        yield match.start(), match.group(), ";", "barrier"
    for match in re.finditer(r"\batomicAdd\(", code):
        end = closing(code, match.end() - 1)
        target, value = split_arguments(text[match.end() : end], code[match.end() : end])
        plain = f"(*({target}) += ({value}))"
        yield match.start(), text[match.start() : end + 1], plain, "atomic"


def closing(code: str, opening: int) -> int:
    depth = 0
    for place in range(opening, len(code)):
        depth += {"(": 1, ")": -1}.get(code[place], 0)
        if depth == 0:
            return place
    raise ValueError("unbalanced parentheses")


def split_arguments(text: str, code: str) -> tuple[str, str]:
    depth = 0
    for place, character in enumerate(code):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            return text[:place].strip(), text[place + 1 :].strip()
    raise ValueError(f"not two arguments: {text}")


def blank_cpp(text: str) -> str:
    """Blanks comments, strings, directives, template headers and static_assert; places stay."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match.group())

    for pattern in (
        r"//[^\n]*",
        r"/\*.*?\*/",
        r'"(?:\\.|[^"\\\n])*"',
        r"(?m)^[ \t]*#(?:[^\n]*\\\n)*[^\n]*",
        r"\bstatic_assert\(.*?\);",
        r"\btemplate <[^;{]*?>(?=\n)",
    ):
        text = re.sub(pattern, blank, text, flags=re.DOTALL)
    return text


def blank_python(text: str) -> str:
    """Blanks comments and strings, docstrings among them; places stay."""
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    characters = list(text)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            begin = starts[token.start[0] - 1] + token.start[1]
            end = starts[token.end[0] - 1] + token.end[1]
            characters[begin:end] = [c if c == "\n" else " " for c in text[begin:end]]
    return "".join(characters)
