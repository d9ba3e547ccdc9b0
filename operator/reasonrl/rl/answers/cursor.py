"""A place in a row of tokens: what both halves of the grammar read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from reasonrl.rl.answers.syntax import Node
from reasonrl.rl.answers.tokens import Token

MAX_DEPTH = 40
"""Nested groups; no answer needs a tenth of it, and each costs several frames of the interpreter's stack."""

END = Token("end", "")


class ParseError(Exception):
    """The text is not an answer in the notation of mathematics. It may still be words."""


@dataclass(slots=True)
class Cursor:
    """`read_member` reads one member of a list, relations included: the other half of the grammar. `bars` counts the open bars of
    absolute values, `in_set` says whether a bar would part a set's members from its condition."""

    tokens: list[Token]
    read_member: Callable[[Cursor], Node]
    place: int = 0
    depth: int = 0
    bars: int = 0
    in_set: bool = False

    def peek(self, ahead: int = 0) -> Token:
        index = self.place + ahead
        return self.tokens[index] if index < len(self.tokens) else END

    def at(self, *kinds: str) -> bool:
        return self.peek().kind in kinds

    def at_command(self, *names: str) -> bool:
        token = self.peek()
        return token.kind == "command" and token.text in names

    def take(self) -> Token:
        token = self.peek()
        self.place += 1
        return token

    def accept(self, kind: str) -> bool:
        if self.peek().kind != kind:
            return False
        self.place += 1
        return True

    def accept_command(self, *names: str) -> str | None:
        if not self.at_command(*names):
            return None
        return self.take().text

    def expect(self, kind: str) -> None:
        if not self.accept(kind):
            raise ParseError(f"expected {kind!r}, found {self.peek().text or self.peek().kind!r}")

    def split_number(self) -> str:
        """Takes one digit of the number here, as TeX does for an argument without braces: \\frac12."""
        token = self.peek()
        if len(token.text) > 1:
            if not token.text.isdigit():
                raise ParseError("half of a decimal as an argument")
            self.tokens[self.place] = Token("number", token.text[1:])
            return token.text[0]
        self.place += 1
        return token.text

    @contextmanager
    def nested(self, *, bars: int = 0, in_set: bool = False) -> Iterator[None]:
        """Within a group: the bars and sets around it no longer matter."""
        before = (self.bars, self.in_set)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ParseError(f"more than {MAX_DEPTH} nested groups")
        self.bars, self.in_set = bars, in_set
        try:
            yield
        finally:
            self.depth -= 1
            self.bars, self.in_set = before
