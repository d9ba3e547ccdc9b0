"""Finding `\\boxed{…}` in a text, in one pass: a response may hold thousands of braces that close nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_UNBRACED = re.compile(r"[^\s{}$\\,;]+|\\[A-Za-z]+(?:\s*\{[^{}]*\})*")
# Two boxes in one sentence with "and" between them: "x = [1] and y = [2]". Any other word may take the first one back ("or rather").
_SENTENCE_LINK = re.compile(r"(?![^\n]*[.!?]\s)(?![^\n]*\b(?:or|rather|instead|not|no|wait|but|actually)\b)[^\n]{0,60}?\band\b[^\n]{0,60}")
_LINK = re.compile(r"(?:[ \t,;$.&~]|\\[,;:! ()\[\]]|\\q?quad|\\text\s*\{\s*(?:and|or|,)?\s*\}|\b(?:and|or)\b)*")


@dataclass(frozen=True, slots=True)
class Box:
    """Where a box starts and ends in the text, and what is in it."""

    start: int
    end: int
    content: str


def boxes(text: str) -> list[Box]:
    """The closed boxes that are in no other box, in order. `\\boxed 5` without braces holds one token, as in TeX."""
    closing: dict[int, int] | None = None
    found: list[Box] = []
    for match in _BOX.finditer(text):
        if found and match.start() < found[-1].end:
            continue
        start = match.end()
        if text.startswith("{", start):
            closing = _closing_braces(text) if closing is None else closing
            if start in closing:
                found.append(Box(match.start(), closing[start] + 1, text[start + 1 : closing[start]].strip()))
            continue
        token = _UNBRACED.match(text, start)
        if token is not None:
            found.append(Box(match.start(), token.end(), token[0].rstrip(".")))
    return found


def _closing_braces(text: str) -> dict[int, int]:
    """The place of the closing brace for each opening one that has it. Escaped braces are text."""
    found: dict[int, int] = {}
    open_at: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            open_at.append(match.start())
        elif match[0] == "}" and open_at:
            found[open_at.pop()] = match.start()
    return found


def last_run(text: str) -> list[Box]:
    """The last box, with those before it in its sentence that commas, "and" or "or" join to it: one answer in several boxes, or one
    hedged among them."""
    found = boxes(text)
    run = found[-1:]
    for box in reversed(found[:-1]):
        between = text[box.end : run[0].start]
        if not (_LINK.fullmatch(between) or _SENTENCE_LINK.fullmatch(between)):
            break
        run.insert(0, box)
    return run
