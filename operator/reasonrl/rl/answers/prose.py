"""What people write around an answer: words before it that change nothing, conditions after it that the question knows.

Everything here takes tokens out or refuses to; what is not sure to be decoration stays, and then the text is not mathematics.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from reasonrl.rl.answers.cursor import ParseError
from reasonrl.rl.answers.tokens import Token
from reasonrl.rl.answers.vocabulary import CONDITION_WORDS, LEADING_WORDS, NEGATIONS, RANGE_WORDS

_COPULAS = ("is", "are", "equals", "be")
NUMBER_SETS = frozenset("RZNQ")


@dataclass(frozen=True, slots=True)
class Bare:
    """An answer without its condition, and the letters that the condition declared."""

    tokens: list[Token]
    declared: frozenset[str]


def without_condition(tokens: list[Token]) -> Bare:
    """Leaves out what an answer holds under, where that only names a range: "…, where k is an integer", "… (k ∈ ℤ)", "…, k ∈ ℤ".

    Raises ParseError for a condition that says more.
    """
    cut = _start_of_condition(tokens)
    if cut is None:
        return Bare(tokens, frozenset())
    declared = frozenset(each.text for each in tokens[cut:] if each.kind == "letter" and each.text not in NUMBER_SETS | {"C"})
    rest = without_condition(_stripped(tokens[:cut]))
    return Bare(rest.tokens, rest.declared | declared)


def _start_of_condition(tokens: list[Token]) -> int | None:
    for place, token in enumerate(tokens):
        opens = (token.kind == "word" and token.text in CONDITION_WORDS) or (token.kind == "command" and token.text == "forall")
        if opens and place > 0:
            if not _only_names_range(tokens[place + 1 :]):
                raise ParseError("an answer under a condition")
            return place
    if tokens and tokens[-1].kind == ")":
        start = _opening(tokens)
        if start > 0 and any(token.kind == "∈" for token in tokens[start:]):
            return start
    depth = 0
    for place in range(len(tokens) - 1, 0, -1):
        depth += (tokens[place].kind in (")", "]", "}", "\\}")) - (tokens[place].kind in ("(", "[", "{", "\\{"))
        if depth == 0 and tokens[place].kind in (",", ";") and _is_membership(tokens[place + 1 :]):
            return place
    return None


def _only_names_range(tokens: list[Token]) -> bool:
    """Whether a condition only says what a variable runs through ("k is an integer", "all x ∈ ℝ", "n ≥ 1"), which the question knows.
    Anything more is a part of the answer: a second value, or a bound that was to be found."""
    depth = 0
    for place, token in enumerate(tokens):
        depth += (token.kind in "([") - (token.kind in ")]")
        if depth == 0 and token.kind in (",", ";", "and", "or", "\\\\", ":"):
            return False
        if token.kind == "word" and token.text not in RANGE_WORDS:
            return False
        if token.kind in ("=", "≠", "<", "≤", "≈", "≡", "|", "/", "·", "+"):
            return False
        if token.kind in (">", "≥") and not (place == 1 and len(tokens) == 3 and tokens[2].text in ("0", "1", "2")):
            return False
        if token.kind == "number" and depth == 0 and not (place == 2 and tokens[1].kind in (">", "≥")):
            return False
    return True


def _opening(tokens: list[Token]) -> int:
    depth = 0
    for place in range(len(tokens) - 1, -1, -1):
        depth += (tokens[place].kind == ")") - (tokens[place].kind == "(")
        if depth == 0:
            return place
    return 0


def _is_membership(tokens: list[Token]) -> bool:
    """Letters ∈ a named set, and nothing else: which values a parameter runs through."""
    kinds = [token.kind for token in tokens]
    if "∈" not in kinds or kinds[0] != "letter":
        return False
    after = tokens[kinds.index("∈") + 1 :]
    return bool(after) and (after[0].text == "mathbb" or (after[0].kind == "letter" and after[0].text in NUMBER_SETS))


def _stripped(tokens: list[Token]) -> list[Token]:
    while tokens and tokens[-1].kind in (",", ";", "(", "punctuation", ":", "\\\\"):
        tokens = tokens[:-1]
    return tokens


def without_prose(tokens: list[Token]) -> list[Token]:
    """Leaves out words before the answer that do not change it, and punctuation. Raises ParseError for words that might."""
    start = _after_copula(tokens)
    while start < len(tokens) and tokens[start].kind in ("word", "punctuation"):
        if tokens[start].kind == "word" and tokens[start].text not in LEADING_WORDS:
            if len(tokens[start].text) == 1:
                break
            raise ParseError(f"the word {tokens[start].text!r} before a value")
        start += 1
    if start < len(tokens) and tokens[start].kind in (":", "=", "≈"):
        start += 1
    if _parts_sentences(tokens[start:]):
        raise ParseError("several sentences")
    return [token for token in tokens[start:] if token.kind != "punctuation"]


def _after_copula(tokens: list[Token]) -> int:
    """Behind the last "is" of a sentence whose beginning only names what is asked: "The range of values for a is [0, 3)"."""
    for place in range(len(tokens) - 1, -1, -1):
        if tokens[place].kind == "word" and tokens[place].text in _COPULAS:
            named = all(each.kind in ("word", "letter", "(", ")", ",") and each.text not in NEGATIONS for each in tokens[:place])
            return place + 1 if named else 0
    return 0


def _parts_sentences(tokens: list[Token]) -> bool:
    """Whether punctuation stands between mathematics: a second sentence."""
    kinds = [token.kind for token in tokens]
    while kinds and kinds[-1] == "punctuation":
        kinds.pop()
    harmless = ("word", "punctuation", ")", "]", "}", "\\}")
    return any(kind == "punctuation" and after not in harmless for kind, after in pairwise(kinds))


def opaque_label(tokens: list[Token]) -> int | None:
    """Where the value starts behind a label that is no mathematics here: "Area = 12", \\lim S_n = 8/3. None when there is no label, or
    when it holds a list, another relation or a negation."""
    depth = 0
    for place, token in enumerate(tokens):
        depth += (token.kind in ("(", "[", "{", "\\{")) - (token.kind in (")", "]", "}", "\\}"))
        if depth > 0:
            continue
        if token.kind == "=":
            return place + 1 if place > 0 else None
        if token.kind in (",", ";", "and", "or", "≠", "<", "≤", ">", "≥", "∈", "≡", "≈", "\\\\") or token.text in NEGATIONS:
            return None
    return None
