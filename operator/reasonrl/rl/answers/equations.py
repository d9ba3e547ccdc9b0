"""Equations: what one says of a label, and when two say the same."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise, takewhile

import mpmath  # type: ignore[import-untyped]

from reasonrl.rl.answers.evaluation import Evaluator, NoValueError, TooLargeError, Value
from reasonrl.rl.answers.expressions import written
from reasonrl.rl.answers.identity import identical, points
from reasonrl.rl.answers.syntax import (
    Bracket,
    Chain,
    Constant,
    Function,
    Listing,
    Negative,
    Node,
    Number,
    Product,
    Quotient,
    Ratio,
    SetOf,
    SetOperation,
    Sum,
    Symbol,
    substituted,
    symbols,
)

_DIGITS = 50
_CLOSE = 20
_NEEDED_POINTS = 4
_SPECIAL_VALUES = (0, 1, -1)


def labelled(chain: Chain) -> tuple[Node | None, Node] | None:
    """What a chain of equalities says: the label before them, if there is one, and the value at their end.

    What comes after ≈ explains the value before it, unless only the label stands there. Without a label all sides must be equal, as in
    `2 + 2 = 4`: anything else is an equation, not a value, and gives None. So does `4 = 4`, which says nothing, and
    `25 = 9 + 16`, whose right side is the answer by its form and not by its value.
    """
    if not set(chain.relations) <= {"=", "≈"}:
        return None
    first = chain.relations.index("≈") + 1 if "≈" in chain.relations else len(chain.sides)
    sides = chain.sides[:first]
    names = tuple(takewhile(lambda side: isinstance(side, Symbol), chain.sides[:-1]))
    if len(names) > 1:
        # x = y = 2 says it of both.
        return Bracket("(", names, ")"), chain.sides[-1]
    if is_label(chain.sides[0]):
        return chain.sides[0], sides[-1] if len(sides) > 1 else chain.sides[1]
    if len(set(sides)) == 1 < len(sides):
        return None
    if isinstance(sides[0], Number) and not isinstance(sides[-1], Number):
        return None
    if all(identical(one, other) for one, other in pairwise(sides)):
        return None, sides[-1]
    return None


def is_label(node: Node) -> bool:
    """Whether an equation with this on its left says what something *is*: x, a_n, f(x), AB, ∠A, dy/dx, A : B, (x, y), sin A.

    x + y, 2x and xy are expressions: `x + y = 5` is an equation between unknowns.
    """
    match node:
        case Symbol():
            return True
        case Constant("e" | "i"):
            return True
        case Product(factors):
            return all(isinstance(each, Symbol) and each.name[:1].isupper() for each in factors)
        case Function("apply"):
            return True
        case Quotient(above, below):
            return _is_ratio_of_symbols(above) and _is_ratio_of_symbols(below)
        case SetOperation(_, left, right):
            return is_label(left) and is_label(right)
        case Ratio(members) | Bracket(_, members, _) | SetOf(members):
            return all(is_label(member) for member in members)
        case Function(name, arguments):
            return name != "root" and all(is_label(argument) for argument in arguments)
        case _:
            return False


def _is_ratio_of_symbols(node: Node) -> bool:
    match node:
        case Symbol():
            return True
        case Product(factors):
            # dy over dx, AB over CD.
            return all(isinstance(factor, Symbol) for factor in factors)
        case _:
            return False


def same_label(first: Node, second: Node) -> bool:
    return first == second or written(first) == written(second) or {_kind(first), _kind(second)} == {"function", "y"}


def _kind(node: Node) -> str:
    """`y` and `f(x)` are two ways to say the same of a graph."""
    match node:
        case Symbol("y"):
            return "y"
        case Function("apply", (Symbol("f" | "g" | "h"), Symbol())):
            return "function"
        case _:
            return written(node)


def renamed(label: Node, value: Node, other: Node) -> Node:
    """The value with its function's variable renamed to the other label's: f(t) = t² says the same as f(x) = x²."""
    match label, other:
        case Function("apply", (f, Symbol(mine))), Function("apply", (g, Symbol(theirs))) if f == g and theirs not in symbols(value):
            return substituted(value, mine, Symbol(theirs))
        case _:
            return value


def renamed_label(label: Node, other: Node) -> Node:
    """The label with its variable called as in the other one: f(t) beside f(x) is f(x)."""
    match label, other:
        case Function("apply", (f, Symbol())), Function("apply", (g, Symbol(theirs))) if f == g:
            return Function("apply", (f, Symbol(theirs)))
        case _:
            return label


def one_side(chain: Chain) -> Node | None:
    """left − right of an equation between two sides."""
    if chain.relations != ("=",) or any(isinstance(side, Bracket | Listing) for side in chain.sides):
        return None
    return Sum((chain.sides[0], Negative(chain.sides[1])))


def same_equation(first: Node, second: Node) -> bool:
    """Whether F = 0 and G = 0 have the same solutions: F is a constant times G, or both give the same value for some variable in which
    both are linear, and neither vanishes where the other does not."""
    names = sorted(symbols(first) | symbols(second))
    if not names or symbols(first) != symbols(second):
        return False
    where = points(names)
    if _proportional(first, second, where):
        return True
    return any(_same_root(first, second, name, where) for name in names) and not _part_ways(first, second, names, where)


def solves(equation: Node, value: Node) -> bool:
    """Whether the equation, linear in a variable that `value` does not have, gives `value` for it."""
    candidates = symbols(equation) - symbols(value)
    if len(candidates) != 1 or not symbols(value) or symbols(value) != symbols(equation) - candidates:
        return False
    (name,) = candidates
    where = points(sorted(symbols(equation)))
    found = [(_root(equation, name, point), _at(value, point)) for point in where]
    pairs = [(root, expected) for root, expected in found if root is not None and expected is not None]
    return len(pairs) >= _NEEDED_POINTS and all(_close(root, expected) for root, expected in pairs)


def _at(node: Node, point: Mapping[str, Value]) -> Value | None:
    try:
        return Evaluator(point, _DIGITS).value(node)
    except (NoValueError, TooLargeError):
        return None


def _close(first: Value, second: Value) -> bool:
    # What should be nothing comes out at about the working precision.
    scale = max(abs(first), abs(second), mpmath.mpf(10) ** (_CLOSE + 5 - _DIGITS))
    return bool(abs(first - second) <= scale * mpmath.mpf(10) ** (-_CLOSE))


def _zero(value: Value) -> bool:
    return bool(abs(value) < mpmath.mpf(10) ** (-_CLOSE))


def _proportional(first: Node, second: Node, where: list[dict[str, Value]]) -> bool:
    ratios: list[Value] = []
    for point in where:
        one, other = _at(first, point), _at(second, point)
        if one is None or other is None:
            continue
        if _zero(one) or _zero(other):
            return False
        with mpmath.workdps(_DIGITS):
            ratios.append(one / other)
    return len(ratios) >= _NEEDED_POINTS and all(abs(ratio / ratios[0] - 1) < mpmath.mpf(10) ** (-_CLOSE) for ratio in ratios)


def _root(node: Node, name: str, point: Mapping[str, Value]) -> Value | None:
    """The zero in `name` with the other variables fixed, when the expression is linear in it and depends on it."""
    with mpmath.workdps(_DIGITS):
        start = mpmath.mpf("1.3718")
        values = [_at(node, {**point, name: start + step}) for step in (0, 1, 3)]
        if values[0] is None or values[1] is None or values[2] is None:
            return None
        slope = values[1] - values[0]
        if _zero(slope) or not _close(values[2] - values[1], 2 * slope):
            return None
        return start - values[0] / slope


def _same_root(first: Node, second: Node, name: str, where: list[dict[str, Value]]) -> bool:
    found = [(_root(first, name, point), _root(second, name, point)) for point in where]
    pairs = [(one, other) for one, other in found if one is not None and other is not None]
    return len(pairs) >= _NEEDED_POINTS and all(_close(one, other) for one, other in pairs)


def _part_ways(first: Node, second: Node, names: list[str], where: list[dict[str, Value]]) -> bool:
    """Whether one vanishes and the other does not where a variable is 0 or ±1: x(y - x) = 0 has a line that y = x has not."""
    for name in names:
        for special in _SPECIAL_VALUES:
            for point in where[:2]:
                there = {**point, name: mpmath.mpf(special)}
                one, other = _at(first, there), _at(second, there)
                if one is not None and other is not None and _zero(one) != _zero(other):
                    return True
    return False
