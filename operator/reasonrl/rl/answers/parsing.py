"""The grammar of whole answers: lists of relations between expressions, with the words that people put around them."""

from __future__ import annotations

import re
from fractions import Fraction

from reasonrl.rl.answers.cursor import Cursor, ParseError
from reasonrl.rl.answers.equations import is_label
from reasonrl.rl.answers.expressions import read_sum, read_symbol
from reasonrl.rl.answers.groups import read_group, read_list_until, read_members
from reasonrl.rl.answers.identity import PARAMETER
from reasonrl.rl.answers.members import as_points
from reasonrl.rl.answers.prose import NUMBER_SETS, opaque_label, without_condition, without_prose
from reasonrl.rl.answers.syntax import (
    Based,
    Bracket,
    Chain,
    Choice,
    Clock,
    Constant,
    Function,
    NamedSet,
    Node,
    Number,
    Percent,
    Product,
    Quantity,
    Ratio,
    SetOperation,
    Sum,
    Symbol,
    Words,
    children,
    substituted,
    symbols,
)
from reasonrl.rl.answers.tokens import Notation, Token, scan
from reasonrl.rl.answers.units import canonical_unit, conversion
from reasonrl.rl.answers.vocabulary import MEANING_WORDS, PROSE_WORDS

RELATIONS = ("=", "≈", "≠", "<", "≤", ">", "≥", "∈", "≡")
_SET_OPERATIONS = {"cup": "union", "cap": "intersection", "setminus": "difference"}
_PERCENT_WORDS = ("percent", "pct", "percentage")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(?:\\text ?\{)?\s*([aApP])?(?:\.?\s?[mM]\.?)?\s*\}?")
_BASED = re.compile(r"\(?(?:\\text ?\{)?([0-9A-Z]*[0-9][0-9A-Z]*)\}?\)?\s*_\{?(\d+)\}?")
_WHOLE_NUMBER_LETTERS = frozenset("kmnlp")
_STATEMENTS = re.compile(r"(?:\(\d\)[\s,;]*){2,}")
_OPTIONS = frozenset("ABCDEFGHIJ")
_FUNCTION_LETTERS = frozenset("fghuvw")
_MAX_UNIT_TOKENS = 6


def parse(text: str, notation: Notation) -> Node:
    """The tree of a normalised answer. Raises ParseError or ScanError when it is not mathematics."""
    whole = _clock(text) or _number_in_a_base(text) or _statements(text)
    if whole is not None:
        return whole
    bare = without_condition(list(scan(text, notation)))
    try:
        tree = _parse_whole(without_prose(bare.tokens))
    except ParseError:
        tree = _behind_label(bare.tokens)
    return _with_named_parameter(tree, bare.declared)


def _parse_whole(tokens: list[Token]) -> Node:
    return _choice(tokens) or _parse_tokens(tokens)


def _behind_label(tokens: list[Token]) -> Node:
    """The value behind a label that cannot be read."""
    start = opaque_label(tokens)
    if start is None:
        raise ParseError("neither an expression nor a value with its label")
    label = Symbol("label " + "".join(token.text or token.kind for token in tokens[: start - 1]))
    value = _parse_tokens(tokens[start:])
    if isinstance(value, Chain):
        return Chain((label, *value.sides), ("=", *value.relations))
    return Chain((label, value), ("=",))


def _with_named_parameter(tree: Node, declared: frozenset[str]) -> Node:
    """Gives the name `ℤ` to the one letter that runs through whole numbers: declared so, or a letter for whole numbers that occurs as a
    multiple of π only, as in x = π/3 + 2kπ."""
    letters = (declared or _periods(tree) - _outside_periods(tree)) & symbols(tree) - _named(tree)
    return substituted(tree, next(iter(letters)), Symbol(PARAMETER)) if len(letters) == 1 else tree


def _named(tree: Node) -> frozenset[str]:
    """Letters that the answer is about: labels, and the arguments of functions, which are compared by their place."""
    here: frozenset[str] = frozenset()
    if isinstance(tree, Chain):
        here = frozenset().union(*(symbols(side) for side in tree.sides if is_label(side)))
    elif isinstance(tree, Function) and tree.name == "apply":
        here = symbols(tree)
    return here.union(*map(_named, children(tree)))


def _periods(node: Node) -> frozenset[str]:
    if isinstance(node, Product) and Constant("pi") in node.factors:
        return symbols(node) & _WHOLE_NUMBER_LETTERS
    return frozenset().union(*map(_periods, children(node)))


def _outside_periods(node: Node) -> frozenset[str]:
    if isinstance(node, Product) and Constant("pi") in node.factors:
        return frozenset()
    if isinstance(node, Symbol):
        return frozenset((node.name,))
    return frozenset().union(*map(_outside_periods, children(node)))


def _parse_tokens(tokens: list[Token]) -> Node:
    if not tokens:
        raise ParseError("nothing to read")
    if tokens[0].kind == "command" and tokens[0].text in ("forall", "exists"):
        members, _ = read_members(Cursor(tokens[1:], read_member), "end")
        return Bracket(tokens[0].text, tuple(members), "")
    return as_points(read_list_until(Cursor(tokens, read_member), "end"))


def _clock(text: str) -> Clock | None:
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds = int(match[1]), int(match[2]), int(match[3] or 0)
    if hours > 24 or minutes > 59 or seconds > 59:
        return None
    # Twelve-hour marks are kept out of the value: most answers leave them to the question.
    return Clock(hours, minutes, seconds)


def _number_in_a_base(text: str) -> Based | None:
    match = _BASED.fullmatch(text)
    return Based(match[1], match[2]) if match is not None and not match[1].isalpha() else None


def _statements(text: str) -> Bracket | None:
    """`(1)(3)`, or ①③: which of several statements hold, or in which order. A product would be written without so many brackets."""
    if _STATEMENTS.fullmatch(text) is None:
        return None
    return Bracket("(", tuple(Number(Fraction(each)) for each in re.findall(r"\d", text)), ")")


def _choice(tokens: list[Token]) -> Choice | None:
    """`(C)`, `C)`, `(C) 12`. A letter alone stays a symbol: only the other side can say that it is an option."""
    if len(tokens) > 2 and tokens[0].kind in ("letter", "word") and tokens[0].text in _OPTIONS and tokens[1].kind == ":":
        tokens = [tokens[0], Token(")", ")"), *tokens[2:]]
    bracketed = len(tokens) >= 2 and tokens[0].kind == "("
    letter = tokens[1 if bracketed else 0] if tokens else None
    if letter is None or letter.kind not in ("letter", "word") or letter.text not in _OPTIONS:
        return None
    place = 2 if bracketed else 1
    if place >= len(tokens) or tokens[place].kind != ")":
        return None
    rest = tokens[place + 1 :]
    if any(token.kind == ":" for token in rest):
        # A: …, B: … says something of each.
        return None
    if not rest:
        return Choice(letter.text, None)
    if rest[0].kind not in ("number", "letter", "word", "\\{", "command", "function") or (not bracketed and tokens[0].kind != "letter"):
        return None
    try:
        return Choice(letter.text, _parse_tokens(rest))
    except ParseError:
        return Choice(letter.text, Words(" ".join(token.text for token in rest if token.text)))


def read_member(cursor: Cursor) -> Node:
    """One member of a list: an expression, or expressions with relations between them."""
    sides = [_read_applied(cursor) or _read_side(cursor)]
    relations: list[str] = []
    while cursor.at(*RELATIONS):
        relations.append(cursor.take().kind)
        if relations[-1] == "∈" and cursor.at("letter") and cursor.peek().text in NUMBER_SETS:
            sides.append(_read_number_set(cursor))
        else:
            sides.append(_read_applied(cursor) or _read_side(cursor))
    if "≡" in relations:
        sides[-1] = _read_modulus(cursor, sides[-1])
    return Chain(tuple(sides), tuple(relations)) if relations else sides[0]


def _read_applied(cursor: Cursor) -> Node | None:
    """A function of something, alone on its side of a relation or as a member: f(x) = …, 0 < f(x) < 1, (P(x), Q(x)). Elsewhere a letter
    before brackets is a factor, as in n(n + 1)."""
    if not cursor.at("letter"):
        return None
    start = cursor.place
    name = read_symbol(cursor)
    if cursor.at("(") and isinstance(name, Symbol):
        arguments = read_group(cursor)
        is_function = name.name[:1] in _FUNCTION_LETTERS or name.name[:1].isupper()
        plain = isinstance(arguments, Symbol | Number)
        if (cursor.at(*RELATIONS) and (is_function or plain)) or (
            cursor.at(",", ")", "end") and is_function and isinstance(arguments, Symbol)
        ):
            return Function("apply", (name, arguments))
    cursor.place = start
    return None


def _read_number_set(cursor: Cursor) -> NamedSet:
    """ℤ, ℤ⁺ and their like written with plain letters."""
    name = cursor.take().text
    while cursor.at("^", "_", "+", "-", "·"):
        name += cursor.take().text
    return NamedSet(name)


def _read_modulus(cursor: Cursor, last: Node) -> Node:
    bracket = cursor.at("(") and cursor.peek(1).text == "mod"
    if bracket:
        cursor.take()
    if cursor.accept_command("pmod", "mod", "bmod") is None and not (cursor.at("word") and cursor.take().text == "mod"):
        return last
    modulus = read_sum(cursor)
    if bracket:
        cursor.expect(")")
    return Function("mod", (last, modulus))


def _read_side(cursor: Cursor) -> Node:
    left = _read_ratio(cursor)
    while (name := cursor.accept_command(*_SET_OPERATIONS)) is not None:
        left = SetOperation(_SET_OPERATIONS[name], left, _read_ratio(cursor))
    return left


def _read_ratio(cursor: Cursor) -> Node:
    members = [_read_quantity(cursor)]
    while not cursor.in_set and cursor.at(":"):
        cursor.take()
        members.append(_read_quantity(cursor))
    return members[0] if len(members) == 1 else Ratio(tuple(members))


def _read_quantity(cursor: Cursor) -> Node:
    """An expression and the words after it: 5 cm, 28 percent, 7 stuffed goats."""
    value = read_sum(cursor)
    if not cursor.at("word"):
        return value
    if isinstance(value, Symbol):
        raise ParseError("a sentence that starts with a letter")
    if cursor.peek().text in _PERCENT_WORDS:
        cursor.take()
        return Percent(value)
    unit = _read_unit(cursor)
    while cursor.at("number"):
        value = Sum((value, _read_part(cursor, unit)))
    return Quantity(value, unit)


def _read_part(cursor: Cursor, unit: str) -> Node:
    """The smaller part of a measure in two units: the 30 minutes of 1 hour 30 minutes, in hours."""
    value = read_sum(cursor)
    factor = conversion(_read_unit(cursor), unit)
    if factor is None or factor >= 1:
        raise ParseError("two quantities side by side")
    return Product((value, Number(factor)))


def _read_unit(cursor: Cursor) -> str:
    words: list[str] = []
    while cursor.at("word", "/", "^", "·", "number", "-", "letter", "{", "}", "_"):
        token = cursor.take()
        if token.kind == "number" and words and words[-1].isalpha() and cursor.at("word"):
            cursor.place -= 1
            break
        if token.kind == "number" and words[-1:] not in (["^"], ["-"], ["{"]):
            raise ParseError("a number after a unit")
        if token.text in MEANING_WORDS or (token.text in PROSE_WORDS and words):
            raise ParseError(f"the word {token.text!r} after a value")
        words.append(token.text or token.kind)
        if len(words) > _MAX_UNIT_TOKENS:
            raise ParseError("a sentence after a value")
    return canonical_unit([word for word in words if word not in "{}"])
