"""From normalised text to tokens, where the reading of digits is decided.

`1,234` can be one number or two, `0,5` a decimal or a pair. The writer knows, the text does not say; so the scanner reads in one of
several *notations*, and whoever compares tries those that make a difference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from reasonrl.rl.answers.vocabulary import ALL_FUNCTIONS, NUMBER_WORDS, PLAIN_CONSTANTS, is_word, words


class Notation(Enum):
    """How a comma or a space between digits is read."""

    GROUPED = "thousands"
    """`1,234` and `1 234` are one number."""
    LISTED = "list"
    """A comma always parts two members, and the e in `3e-5` is a number of its own."""
    DECIMAL_COMMA = "decimal comma"
    """`1,22` is 1.22, and `1.234.567,8` is 1234567.8."""


class ScanError(Exception):
    """A character or a command that no answer is expected to hold."""


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is one of number, letter, function, word, command, or the sign itself. `text` is what was written. `spaced`: a space stood
    before it."""

    kind: str
    text: str
    spaced: bool = False


_GROUPED_NUMBER = re.compile(r"\d{1,3}(?:(?:,|\{,\}| )\d{3})+(?!\d)(?:\.\d+)?")
_BRACED_COMMA = re.compile(r"\d+(?:\{,\}\d+)+(?:\.\d+)?")
_POINT_GROUPED = re.compile(r"\d{1,3}(?:\.\d{3}){2,}(?![\d.])|\d{1,3}(?:\.\d{3})+,\d+(?![\d,])")
# "3,0" is a list: nobody writes the zero for its own sake.
_DECIMAL_COMMA = re.compile(r"\d+,\d*[1-9](?![\d,])")
_NUMBER = re.compile(r"\d+\.\d+|\.\d+|\d+\.(?![.\d])|\d+")
_SCIENTIFIC = re.compile(rf"(?:{_NUMBER.pattern})(?:[eE][+-]?\d+)?")
_REPEATING = re.compile(r"\s*\\(?:overline|bar|dot) ?\{(\d+)\}")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_LETTERS = re.compile(r"[A-Za-z]+")
_NAMED_TEXT = re.compile(r"\\(?:text|mathrm|operatorname) ?\*?\s*\{")
_FOREIGN_WORD = re.compile(r"[^\W\d_]+")
_GREEK = words(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar"
)
_SIGNS = frozenset("+-*/^_!'=<>,;:|()[]{}%&")
_RELATIONS = {"le": "≤", "ge": "≥", "ne": "≠", "approx": "≈", "in": "∈", "equiv": "≡", "sim": "≈", "cong": "≈"}
_TWO_SIGNS = {"<=": "≤", ">=": "≥", "!=": "≠", "==": "=", "~=": "≈", "**": "^", "=>": ";"}
_UPRIGHT_UNITS = frozenset("msghlLJW")
"""Letters that are units when they stand upright: \\mathrm{m}."""
_MAX_TOKENS = 2000


def scan(text: str, notation: Notation) -> tuple[Token, ...]:
    """Raises ScanError for what cannot be in an answer, or for an answer of an unreasonable length."""
    tokens: list[Token] = []
    place = depth = 0
    spaced = False
    while place < len(text):
        if len(tokens) > _MAX_TOKENS:
            raise ScanError(f"more than {_MAX_TOKENS} tokens")
        if text[place].isspace():
            place, spaced = place + 1, True
            continue
        found, place = _next(text, place, notation, depth)
        for token in found:
            depth += (token.kind in "([" or token.kind == "\\{") - (token.kind in ")]" or token.kind == "\\}")
            tokens.append(Token(token.kind, token.text, spaced))
            spaced = False
    return tuple(tokens)


def _next(text: str, place: int, notation: Notation, depth: int) -> tuple[list[Token], int]:
    letter = text[place]
    if (letter.isdigit() and letter.isascii()) or (letter == "." and text[place + 1 : place + 2].isdigit()):
        return _number(text, place, notation, depth)
    if letter == "\\":
        return _command(text, place)
    if letter.isascii() and letter.isalpha():
        run = _LETTERS.match(text, place)
        assert run is not None
        return _letters(run[0]), run.end()
    if text[place : place + 2] in _TWO_SIGNS:
        sign = _TWO_SIGNS[text[place : place + 2]]
        return [Token(sign, sign)], place + 2
    if letter in _SIGNS:
        return [Token("·" if letter == "*" else letter, letter)], place + 1
    foreign = _FOREIGN_WORD.match(text, place)
    if foreign is not None:
        return [Token("word", foreign[0].lower())], foreign.end()
    if letter in '.?"`#@…‘':
        # Punctuation of prose: it parts words and means nothing in mathematics.
        return [Token("punctuation", letter)], place + 1
    raise ScanError(f"the character {letter!r}")


def _number(text: str, place: int, notation: Notation, depth: int) -> tuple[list[Token], int]:
    for pattern, admitted in (
        (_GROUPED_NUMBER, notation is Notation.GROUPED),
        (_BRACED_COMMA, True),
        (_POINT_GROUPED, notation is Notation.DECIMAL_COMMA and depth == 0),
        (_DECIMAL_COMMA, notation is Notation.DECIMAL_COMMA and depth == 0),
    ):
        match = pattern.match(text, place)
        if not admitted or match is None:
            continue
        written = match[0]
        if pattern is _GROUPED_NUMBER and depth > 0 and "{" not in written:
            # Within brackets a comma parts the members of a pair or an interval: (20,100).
            continue
        if pattern is _POINT_GROUPED:
            return [Token("number", written.replace(".", "").replace(",", "."))], match.end()
        return [Token("number", _plain_digits(written, pattern is _GROUPED_NUMBER))], match.end()
    match = (_NUMBER if notation is Notation.LISTED else _SCIENTIFIC).match(text, place)
    assert match is not None
    written, end = match[0], match.end()
    repeating = _REPEATING.match(text, end) if "." in written else None
    if repeating is not None:
        return [Token("number", f"{written}({repeating[1]})")], repeating.end()
    return [Token("number", written)], end


def _plain_digits(written: str, grouped: bool) -> str:
    parts = written.replace("{,}", ",").replace(" ", ",").split(",")
    if grouped or all(len(part.split(".")[0]) == 3 for part in parts[1:]):
        return "".join(parts)
    return ".".join(parts)


def _command(text: str, place: int) -> tuple[list[Token], int]:
    if text[place + 1 : place + 2] in ("{", "}", "|"):
        return [Token(text[place : place + 2].replace("\\|", "|"), "")], place + 2
    if text.startswith("\\\\", place):
        return [Token("\\\\", "")], place + 2
    named = _NAMED_TEXT.match(text, place)
    if named is not None:
        end = _closing(text, named.end())
        inner = text[named.end() : end]
        return _text(inner, mathematical=not text.startswith("\\text", place)), end + 1
    match = _COMMAND.match(text, place)
    if match is None:
        raise ScanError(f"a backslash before {text[place + 1 : place + 2]!r}")
    name = match[1]
    if name in _RELATIONS:
        return [Token(_RELATIONS[name], name)], match.end()
    if name in _GREEK:
        return [Token("letter", name)], match.end()
    if name in ALL_FUNCTIONS:
        return [Token("function", name)], match.end()
    if name in ("times", "cdot"):
        return [Token("·", name)], match.end()
    if name == "mid":
        return [Token("|", name)], match.end()
    return [Token("command", name)], match.end()


def _closing(text: str, start: int) -> int:
    depth = 1
    for place in range(start, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return place
    raise ScanError("a brace that is not closed")


def _text(inner: str, *, mathematical: bool) -> list[Token]:
    """The inside of \\text{…}: words, and between them whatever else is there. A single upright letter is a letter: \\mathrm{e}."""
    stripped = inner.strip()
    if mathematical and len(stripped) == 1 and stripped.isalpha():
        return [Token("word" if stripped in _UPRIGHT_UNITS else "letter", stripped)]
    if mathematical and stripped.isascii() and stripped.isalpha() and stripped.isupper():
        return [Token("letter", letter) for letter in stripped]
    if mathematical and stripped in ALL_FUNCTIONS:
        return [Token("function", stripped)]
    tokens: list[Token] = []
    place = 0
    while place < len(inner):
        if inner[place].isspace():
            place += 1
            continue
        run = _FOREIGN_WORD.match(inner, place)
        if run is not None:
            tokens.append(_word(run[0]))
            place = run.end()
            continue
        found, place = _next(inner, place, Notation.GROUPED, 0)
        tokens += found
    return tokens


def _word(run: str) -> Token:
    if run.lower() in ("and", "or"):
        return Token(run.lower(), run)
    if run.lower() in NUMBER_WORDS:
        return Token("number", str(NUMBER_WORDS[run.lower()]))
    return Token("word", run if len(run) == 1 else run.lower())


def _letters(run: str) -> list[Token]:
    if run in ALL_FUNCTIONS:
        return [Token("function", run)]
    if run.lower() in PLAIN_CONSTANTS:
        return [Token("command", PLAIN_CONSTANTS[run.lower()])]
    if is_word(run):
        return [_word(run)]
    return [Token("letter", letter) for letter in run]
