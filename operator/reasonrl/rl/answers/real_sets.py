"""Subsets of the real line: intervals, inequalities, unions, and the set where a condition holds, as one kind of thing.

`x > 2`, `(2, ∞)` and `{x | x > 2}` are three ways to write one set; here they become the same pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import mpmath  # type: ignore[import-untyped]

from reasonrl.rl.answers.equations import is_label
from reasonrl.rl.answers.evaluation import Evaluator, NoValueError, TooLargeError, Value, exact
from reasonrl.rl.answers.expressions import written
from reasonrl.rl.answers.identity import identical
from reasonrl.rl.answers.syntax import (
    Bracket,
    Chain,
    Constant,
    Listing,
    NamedSet,
    Negative,
    Node,
    Number,
    SetOf,
    SetOperation,
    SetWhere,
    Sum,
    Symbol,
    substituted,
    symbols,
)

_DIGITS = 50
_CLOSE = 25
_FLIPPED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "=": "=", "≠": "≠"}
INFINITY = Constant("infinity")
MINUS_INFINITY = Negative(INFINITY)


@dataclass(frozen=True, slots=True)
class Piece:
    """From `low` to `high`, with or without its ends. Infinite ends are never part of it."""

    low: Node
    low_closed: bool
    high: Node
    high_closed: bool


@dataclass(frozen=True, slots=True)
class RealSet:
    """Pieces in no order. `variable` is the name that the text gave to the elements, if it gave one."""

    pieces: tuple[Piece, ...]
    variable: str | None = None


LINE = Piece(MINUS_INFINITY, False, INFINITY, False)


def real_set(node: Node) -> RealSet | None:
    """The set that the answer describes, or None when it describes none, or one that is not made of intervals."""
    match node:
        case Bracket(opening, (low, high), closing):
            return RealSet((Piece(low, opening == "[", high, closing == "]"),))
        case SetOf(members):
            return RealSet(tuple(_point(member) for member in members))
        case NamedSet("R"):
            return RealSet((LINE,))
        case NamedSet("empty"):
            return RealSet(())
        case SetOperation(operator, left, right):
            return _operation(operator, left, right)
        case SetWhere(Symbol(name), condition):
            found = real_set(condition)
            return None if found is None else replace(found, variable=None if found.variable in (None, name) else found.variable)
        case Chain():
            return _of_chain(node)
        case Listing(members, joiner):
            return _of_listing(members, joiner)
        case _:
            return None


def is_written_as_set(node: Node) -> bool:
    """Whether the answer can be nothing but a set: an inequality, a union, a condition. A bracket with two members may be a point."""
    match node:
        case Chain(_, relations):
            return bool(set(relations) & set("<>≤≥≠∈"))
        case SetOperation() | SetWhere() | NamedSet("R" | "empty"):
            return True
        case Listing(members, _):
            return any(is_written_as_set(member) for member in members)
        case _:
            return False


def same_real_set(first: RealSet, second: RealSet) -> bool:
    if first.variable and second.variable and first.variable != second.variable:
        return False
    numeric = _numeric(first.pieces), _numeric(second.pieces)
    if numeric[0] is not None and numeric[1] is not None:
        return _merged(numeric[0]) == _merged(numeric[1])
    if len(first.pieces) != len(second.pieces):
        return False
    left = list(second.pieces)
    for piece in first.pieces:
        match = next((other for other in left if _same_piece(piece, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_piece(first: Piece, second: Piece) -> bool:
    if (first.low_closed, first.high_closed) != (second.low_closed, second.high_closed):
        return False
    return _same_end(first.low, second.low) and _same_end(first.high, second.high)


def _same_end(first: Node, second: Node) -> bool:
    if _infinite(first) or _infinite(second):
        return first == second
    return identical(first, second)


def _infinite(node: Node) -> bool:
    return node in (INFINITY, MINUS_INFINITY)


def _point(node: Node) -> Piece:
    return Piece(node, True, node, True)


def _operation(operator: str, left: Node, right: Node) -> RealSet | None:
    first, second = real_set(left), real_set(right)
    if first is None or second is None:
        return None
    if operator == "union":
        return RealSet(first.pieces + second.pieces, first.variable or second.variable)
    return _combined(first, second, complement=operator == "difference")


def _of_chain(chain: Chain) -> RealSet | None:
    sides, relations = chain.sides, chain.relations
    if len(sides) == 2 and relations == ("∈",) and is_label(sides[0]):
        found = real_set(sides[1])
        return None if found is None else replace(found, variable=written(sides[0]))
    if len(sides) == 3 and is_label(sides[1]) and all(relation in _FLIPPED for relation in relations):
        low = _half_line(_FLIPPED[relations[0]], sides[0])
        high = _half_line(relations[1], sides[2])
        if low is None or high is None or len(low) != 1 or len(high) != 1:
            return None
        return _between(low[0], high[0], written(sides[1]))
    if len(sides) == 2 and relations[0] in _FLIPPED:
        return _of_relation(sides[0], relations[0], sides[1])
    return None


def _between(first: Piece, second: Piece, name: str) -> RealSet | None:
    """The part that two half-lines, one in each direction, have in common."""
    if first.low == MINUS_INFINITY:
        first, second = second, first
    if first.high != INFINITY or second.low != MINUS_INFINITY:
        return None
    return RealSet((Piece(first.low, first.low_closed, second.high, second.high_closed),), name)


def _of_relation(left: Node, relation: str, right: Node) -> RealSet | None:
    for variable, sign, other in ((left, relation, right), (right, _FLIPPED[relation], left)):
        if is_label(variable) and not symbols(variable) & symbols(other):
            pieces = _half_line(sign, other)
            return None if pieces is None else RealSet(pieces, written(variable))
    return _solved(Sum((left, Negative(right))), relation)


def _half_line(relation: str, bound: Node) -> tuple[Piece, ...] | None:
    match relation:
        case ">" | "≥":
            return (Piece(bound, relation == "≥" and not _infinite(bound), INFINITY, False),)
        case "<" | "≤":
            return (Piece(MINUS_INFINITY, False, bound, relation == "≤" and not _infinite(bound)),)
        case "=":
            return (_point(bound),)
        case "≠":
            return (Piece(MINUS_INFINITY, False, bound, False), Piece(bound, False, INFINITY, False))
        case _:
            return None


def _solved(difference: Node, relation: str) -> RealSet | None:
    """F ? 0 for an F that is linear in its only variable, with rational coefficients."""
    names = symbols(difference)
    if len(names) != 1:
        return None
    (name,) = names
    values = [_rational_at(difference, name, x) for x in (0, 1, 3)]
    if values[0] is None or values[1] is None or values[2] is None:
        return None
    slope = values[1] - values[0]
    if slope == 0 or values[2] - values[1] != 2 * slope:
        return None
    pieces = _half_line(relation if slope > 0 else _FLIPPED[relation], Number(-values[0] / slope))
    return None if pieces is None else RealSet(pieces, name)


def _rational_at(node: Node, name: str, x: int) -> Fraction | None:
    try:
        return exact(substituted(node, name, Number(Fraction(x))))
    except (NoValueError, TooLargeError):
        return None


def _of_listing(members: Sequence[Node], joiner: str) -> RealSet | None:
    """Conditions joined by "or" are a union. By "and" or a comma they hold together where that leaves more than contradiction;
    intervals are a union however they are joined."""
    sets = [real_set(member) for member in members]
    if joiner == "or" and any(each is not None for each in sets):
        sets = [RealSet((_point(member),)) if each is None else each for each, member in zip(sets, members, strict=True)]
    found = [each for each in sets if each is not None]
    intervals = all(isinstance(member, Bracket) for member in members)
    if len(found) != len(members) or (joiner != "or" and not intervals and not any(isinstance(member, Chain) for member in members)):
        return None
    names = {each.variable for each in found if each.variable}
    if len(names) > 1:
        return None
    variable = next(iter(names), None)
    union = RealSet(tuple(piece for each in found for piece in each.pieces), variable)
    if joiner == "or" or intervals:
        return union
    together: RealSet | None = found[0]
    for each in found[1:]:
        together = None if together is None else _combined(together, each, complement=False)
    if together is None:
        return None
    return replace(together, variable=variable) if together.pieces else union


Numeric = tuple[Value, bool, Value, bool]


def _numeric(pieces: Sequence[Piece]) -> list[Numeric] | None:
    found: list[Numeric] = []
    for piece in pieces:
        low, high = _end_value(piece.low), _end_value(piece.high)
        if low is None or high is None:
            return None
        if low < high or (_ends_meet(low, high) and piece.low_closed and piece.high_closed):
            found.append((low, piece.low_closed and mpmath.isfinite(low), high, piece.high_closed and mpmath.isfinite(high)))
    return _aligned(found)


def _end_value(node: Node) -> Value | None:
    if node == INFINITY:
        return mpmath.inf
    if node == MINUS_INFINITY:
        return -mpmath.inf
    try:
        value = Evaluator({}, _DIGITS).value(node)
    except (NoValueError, TooLargeError):
        return None
    return None if isinstance(value, mpmath.mpc) else value


def _ends_meet(first: Value, second: Value) -> bool:
    if first == second:
        return True
    if not (mpmath.isfinite(first) and mpmath.isfinite(second)):
        return False
    return bool(abs(first - second) <= max(abs(first), abs(second)) * mpmath.mpf(10) ** (-_CLOSE))


def _aligned(pieces: Sequence[Numeric]) -> list[Numeric]:
    """Ends that are the same number, computed in two ways, become the same value, rounded to what is certain."""

    def rounded(value: Value) -> Value:
        with mpmath.workdps(_CLOSE):
            return +value

    return [(rounded(low), low_closed, rounded(high), high_closed) for low, low_closed, high, high_closed in pieces]


def _merged(pieces: Sequence[Numeric]) -> list[Numeric]:
    """The same set in separate pieces from left to right."""
    result: list[Numeric] = []
    for low, low_closed, high, high_closed in sorted(pieces, key=lambda piece: (piece[0], not piece[1])):
        if result:
            last_low, last_low_closed, last_high, last_high_closed = result[-1]
            if low < last_high or (low == last_high and (low_closed or last_high_closed)):
                if high > last_high:
                    result[-1] = (last_low, last_low_closed, high, high_closed)
                elif high == last_high:
                    result[-1] = (last_low, last_low_closed, high, high_closed or last_high_closed)
                continue
        result.append((low, low_closed, high, high_closed))
    return result


def _complement(pieces: Sequence[Numeric]) -> list[Numeric]:
    result: list[Numeric] = []
    start, start_closed = -mpmath.inf, False
    for low, low_closed, high, high_closed in _merged(pieces):
        if start < low or (start == low and start_closed and not low_closed):
            result.append((start, start_closed, low, not low_closed and mpmath.isfinite(low)))
        start, start_closed = high, not high_closed and mpmath.isfinite(high)
    if start < mpmath.inf:
        result.append((start, start_closed, mpmath.inf, False))
    return result


def _combined(first: RealSet, second: RealSet, *, complement: bool) -> RealSet | None:
    """The intersection, or the difference where the second is to be taken as its complement."""
    one, other = _numeric(first.pieces), _numeric(second.pieces)
    if one is None or other is None:
        return None
    other = _complement(other) if complement else other
    # De Morgan: what both have is outside of what either lacks.
    both = _complement([*_complement(one), *_complement(other)])
    pieces = tuple(Piece(_end_node(low), low_closed, _end_node(high), high_closed) for low, low_closed, high, high_closed in both)
    return RealSet(pieces, first.variable or second.variable)


def _end_node(value: Value) -> Node:
    if not mpmath.isfinite(value):
        return INFINITY if value > 0 else MINUS_INFINITY
    with mpmath.workdps(_DIGITS):
        sign, mantissa, exponent, _ = value._mpf_
    number = Fraction(mantissa) * Fraction(2) ** exponent
    return Number(-number if sign else number)
