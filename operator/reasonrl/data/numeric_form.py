"""Does an answer stand for one number?

The report keeps only questions whose answer SymPy turns into digits (§2). Reading arbitrary text with SymPy can take for ever
(`9^{9^{9^9}}`), and only the form matters here, so this is a grammar and no arithmetic: numbers, fractions, roots, powers, elementary
functions, π and e, signs, products, sums, brackets, percent and degree signs, thousands separators, in plain or LaTeX notation. A
variable, a word, a unit, a list, an interval or an equation is not a number.
"""

from __future__ import annotations

import re

_LONGEST = 300
"""Characters. No answer that is one number comes near it, and it bounds the depth of brackets."""

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number> (?:\d{1,3}(?:(?:,|\{,\}|\\,|\\!|,\\!|\\\ )\d{3})+ | \d+)(?:\.\d*)? (?:[eE][+-]?\d+)? | \.\d+ (?:[eE][+-]?\d+)? )
      | (?P<fraction> \\[dtc]?frac )
      | (?P<root> \\sqrt | sqrt )
      | (?P<function> \\(?:arc)?(?:ln|log|lg|exp|sin|cos|tan|cot|sec|csc)(?![A-Za-z]) )
      | (?P<constant> \\pi(?![A-Za-z]) | π | pi(?![A-Za-z]) | \\e(?![A-Za-z]) | e(?![A-Za-z]) )
      | (?P<suffix> \\?% | \^\{?\\circ\}? | °  | ! )
      | (?P<power> \*\* | \^ )
      | (?P<product> \\cdot(?![A-Za-z]) | \\times(?![A-Za-z]) | \* | × | · | / | ÷ | \\div(?![A-Za-z]) )
      | (?P<sum> [+\-−–] )
      | (?P<open> \\left\( | \\left\[ | \( | \[ | \{ )
      | (?P<close> \\right\) | \\right\] | \) | \] | \} )
    )""",
    re.VERBOSE,
)
# Within brackets a comma parts the members of a pair or an interval: (20,100).
_BARE_COMMA = re.compile(r"(?<![{\\]),")
_SPACE = re.compile(r"\s+")
_IGNORED = re.compile(r"\\[,;:! ]|~|\\displaystyle|\\quad")
_WRAPPERS = ((r"\(", r"\)"), (r"\[", r"\]"), ("$$", "$$"), ("$", "$"))
_CURRENCY = re.compile(r"^(\\\$|\$|€|£)\s*(?=[\d.])")


def is_number(answer: str) -> bool:
    """Whether `answer` has the form of one number. Never evaluates anything."""
    text = answer.strip()
    if len(text) > _LONGEST:
        return False
    for opening, closing in _WRAPPERS:
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing):
            text = text[len(opening) : -len(closing)].strip()
    text = _CURRENCY.sub("", text).removesuffix(".")
    tokens = _tokens(text)
    return tokens is not None and bool(tokens) and _Reader(tokens).whole_sum()


def _tokens(text: str) -> list[tuple[str, str]] | None:
    found: list[tuple[str, str]] = []
    place = depth = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            ignored = _IGNORED.match(text, place) or _SPACE.match(text, place)
            if ignored is None:
                return None
            place = ignored.end()
            continue
        kind, word = match.lastgroup, match[match.lastgroup]
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(word[-1], 0)
        if kind == "number" and depth and _BARE_COMMA.search(word):
            return None
        found.append((kind, word))
        place = match.end()
    return found


class _Reader:
    """Recursive descent over the tokens: a sum of products of powers of atoms. Methods say whether they could read their part."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._place = 0

    def whole_sum(self) -> bool:
        return self._sum() and self._place == len(self._tokens)

    def _kind(self) -> str:
        return self._tokens[self._place][0] if self._place < len(self._tokens) else "end"

    def _accept(self, kind: str) -> bool:
        if self._kind() != kind:
            return False
        self._place += 1
        return True

    def _sum(self) -> bool:
        self._accept("sum")
        while self._product():
            if not self._accept("sum"):
                return True
        return False

    def _product(self) -> bool:
        while self._power():
            if self._accept("product"):
                self._accept("sum")
                continue
            # 2\sqrt{3}, 3\pi and 2\frac{1}{3} are products without a sign; two numbers side by side are a list.
            if self._kind() not in ("fraction", "root", "function", "constant", "open"):
                return True
        return False

    def _power(self) -> bool:
        if not self._atom():
            return False
        while self._accept("suffix"):
            continue
        if self._accept("power"):
            self._accept("sum")
            return self._power()
        return True

    def _atom(self) -> bool:
        if self._accept("number") or self._accept("constant"):
            return True
        if self._accept("fraction"):
            return self._argument() and self._argument()
        if self._accept("root"):
            if self._kind() == "open" and self._tokens[self._place][1] == "[" and not self._group():
                return False
            return self._argument()
        if self._accept("function"):
            return self._power()
        return self._group()

    def _argument(self) -> bool:
        """A bracket, or one digit or constant as in \\frac12."""
        if self._kind() == "number":
            digits = self._tokens[self._place][1]
            if len(digits) > 1:
                self._tokens[self._place] = ("number", digits[1:])
                return digits.isdigit()
            self._place += 1
            return True
        return self._accept("constant") or self._group()

    def _group(self) -> bool:
        return self._accept("open") and self._sum() and self._accept("close")
