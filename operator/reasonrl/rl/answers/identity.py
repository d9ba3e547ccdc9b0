"""Whether two expressions are the same: as fractions, to many digits, or as functions at many points.

Two different expressions of the size of an answer do not agree to twenty digits by chance, nor at eight points without a pattern
(Schwartz 1980, Zippel 1979 for polynomials). That is faster than simplifying them, and it cannot run away.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping
from fractions import Fraction

import mpmath  # type: ignore[import-untyped]

from reasonrl.rl.answers.evaluation import Evaluator, NoValueError, TooLargeError, Value, exact
from reasonrl.rl.answers.syntax import Negative, Node, Number, Percent, Power, Product, Symbol, children, substituted, symbols

_DIGITS = 50
_CLOSE_DIGITS = 20
_NEEDED_AGREEMENTS = 3

_REGIONS: tuple[tuple[float, float], ...] = (
    (0.1, 0.9),
    (1.1, 3.0),
    (-0.9, -0.1),
    (-3.0, -1.1),
    (0.1, 0.9),
    (-2.0, 2.0),
    (-4.0, 4.0),
    (1.5, 6.0),
    (5.0, 20.0),
)
"""Where points are taken: within (0, 1) for inverse functions, of both signs to tell |x| from x, of mixed signs in between."""

PARAMETER = "ℤ"
"""The name that the parser gives to a parameter running through whole numbers: x = kπ and x = nπ are one answer."""

MIN_SIGNIFICANT_DIGITS = 4
"""A decimal with fewer digits is not taken for the rounding of an exact value: 2.5 is the rounding of too many things."""

MIN_SIGNIFICANT_DIGITS_OF_GOLD = 3
"""A gold answer that is a decimal was rounded by its source, and the exact value is more than it asks for; so it may be shorter."""


def identical(first: Node, second: Node) -> bool:
    """Whether both are the same number, or the same function of the same variables. Rounded decimals are not looked at."""
    if first == second:
        return _has_value(first)
    try:
        fractions = exact(first), exact(second)
        if fractions[0] is not None and fractions[1] is not None:
            return fractions[0] == fractions[1]
        second = _with_same_parameter(first, second)
        names = symbols(first) | symbols(second)
        if not names:
            return _same_value(first, second)
        return _same_function(first, second, sorted(names))
    except (NoValueError, TooLargeError):
        return False


def _with_same_parameter(first: Node, second: Node) -> Node:
    """`second` with its parameter called as in `first`, where each has one name that the other has not. A parameter that runs through
    whole numbers, and an arbitrary constant (c or C), may have any name."""
    mine, theirs = symbols(first) - symbols(second), symbols(second) - symbols(first)
    if len(mine) != 1 or len(theirs) != 1:
        return second
    (name,), (other,) = mine, theirs
    # A letter alone is no family: every letter would be the same answer.
    if isinstance(first, Symbol) or isinstance(second, Symbol) or (PARAMETER not in (name, other) and {name, other} != {"c", "C"}):
        return second
    return substituted(second, other, Symbol(name))


def _has_value(node: Node) -> bool:
    """5/0 is not equal to itself. What is too large to compute with is."""
    try:
        exact(node)
    except NoValueError:
        return False
    except TooLargeError:
        return True
    return True


def _same_value(first: Node, second: Node) -> bool:
    values = [Evaluator({}, _DIGITS).value(each) for each in (first, second)]
    if _close(*values):
        return True
    if max(map(abs, values)) > mpmath.mpf(10) ** (-_CLOSE_DIGITS):
        return False
    # Both are next to nothing: zero shrinks with the precision, a small number does not.
    values = [Evaluator({}, 4 * _DIGITS).value(each) for each in (first, second)]
    return bool(_close(*values) or max(map(abs, values)) < mpmath.mpf(10) ** (-3 * _DIGITS))


def _close(first: Value, second: Value) -> bool:
    difference = abs(first - second)
    return bool(difference <= max(abs(first), abs(second)) * mpmath.mpf(10) ** (-_CLOSE_DIGITS))


def _same_function(first: Node, second: Node, names: list[str]) -> bool:
    """Equal wherever both are defined over the reals, and that in enough places; else equal everywhere as complex functions."""
    whole = _whole_number_symbols(first) | _whole_number_symbols(second)
    agreements = comparisons = 0
    complex_agreement = True
    for point in points(names, whole):
        values = [_value_at(each, point) for each in (first, second)]
        if values[0] is None or values[1] is None:
            continue
        comparisons += 1
        same = _close(values[0][0], values[1][0]) or _both_vanish(values[0][0], values[1][0])
        complex_agreement = complex_agreement and same
        if values[0][1] and values[1][1]:
            if not same:
                return False
            agreements += 1
    return agreements >= _NEEDED_AGREEMENTS or (complex_agreement and comparisons >= _NEEDED_AGREEMENTS)


def _both_vanish(first: Value, second: Value) -> bool:
    return bool(max(abs(first), abs(second)) < mpmath.mpf(10) ** (-_DIGITS + 10))


def _value_at(node: Node, point: Mapping[str, Value]) -> tuple[Value, bool] | None:
    """The value and whether it is one over the reals; None where there is none."""
    evaluator = Evaluator(point, _DIGITS)
    try:
        value = evaluator.value(node)
    except (NoValueError, TooLargeError):
        return None
    return value, not evaluator.left_reals


def points(names: list[str], whole: frozenset[str] = frozenset()) -> list[dict[str, Value]]:
    """Points to compare functions at: the same for the same names, always. `whole` are the names of whole numbers."""
    found: list[dict[str, Value]] = []
    for index, (low, high) in enumerate(_REGIONS):
        point: dict[str, Value] = {}
        for name in names:
            source = random.Random(zlib.crc32(f"{index} {name}".encode()))
            if name in whole:
                point[name] = mpmath.mpf(source.randint(1, 6 + 3 * index))
            else:
                point[name] = mpmath.mpf(low + (high - low) * source.random())
        found.append(point)
    return found


def _whole_number_symbols(node: Node) -> frozenset[str]:
    """Variables in the exponent of a negative number: (-1)^n means something for whole n only."""
    found = frozenset().union(*map(_whole_number_symbols, children(node)))
    if isinstance(node, Power) and isinstance(node.base, Negative) and not symbols(node.base):
        found |= symbols(node.exponent)
    return found


def rounds_to(decimal: Node, value: Node, *, min_digits: int) -> bool:
    """Whether `decimal` is written as a decimal of enough digits and is the correct rounding of `value`, which is not written so.

    With two digits more than usual its last one may be off by one: many answers are cut off instead of rounded. With fewer than usual
    `value` must have no end as a decimal, or it would have been given in full.
    """
    written = _written_decimal(decimal)
    if written is None or _written_decimal(value) is not None or symbols(value):
        return False
    number, places = written
    digits = significant_digits(number, places)
    if digits < min_digits:
        return False
    try:
        exactly = exact(value)
        if exactly is not None and (exactly.denominator == 1 or (digits < MIN_SIGNIFICANT_DIGITS and _terminates(exactly))):
            return False
        target = Evaluator({}, _DIGITS).value(value)
    except (NoValueError, TooLargeError):
        return False
    if isinstance(target, mpmath.mpc):
        return False
    step = mpmath.mpf(10) ** (-places)
    tolerance = step if digits >= MIN_SIGNIFICANT_DIGITS + 2 else step / 2
    with mpmath.workdps(_DIGITS):
        error = abs(mpmath.mpf(number.numerator) / number.denominator - target)
        return bool(error <= tolerance * (1 + mpmath.mpf(10) ** (-_CLOSE_DIGITS)))


def _terminates(value: Fraction) -> bool:
    below = value.denominator
    for prime in (2, 5):
        while below % prime == 0:
            below //= prime
    return below == 1


def significant_digits(number: Fraction, places: int) -> int:
    return len(str(abs(int(number * Fraction(10) ** places)))) if number else 0


def _written_decimal(node: Node) -> tuple[Fraction, int] | None:
    """A decimal as it was written, with the number of its places: 0.25, −0.25, 2.5 × 10^{-3}."""
    match node:
        case Number(value, int(places)):
            return value, places
        case Negative(operand):
            inner = _written_decimal(operand)
            return None if inner is None else (-inner[0], inner[1])
        case Percent(operand):
            inner = _written_decimal(operand)
            return None if inner is None else (inner[0] / 100, inner[1] + 2)
        case Product((Number(value, int(places)), Power(Number(base), exponent))) if base == 10:
            power = exact(exponent)
            if power is None or power.denominator != 1 or abs(power) > 400:
                return None
            return value * Fraction(10) ** power.numerator, places - power.numerator
        case _:
            return None


def decimal_rounds_decimal(short: Node, long: Node) -> bool:
    """Whether a decimal of enough digits is the correct rounding of one so long that nobody writes it but for an irrational number."""
    few, many = _written_decimal(short), _written_decimal(long)
    if few is None or many is None or many[1] <= few[1]:
        return False
    if significant_digits(*few) < MIN_SIGNIFICANT_DIGITS or significant_digits(*many) < 2 * MIN_SIGNIFICANT_DIGITS:
        return False
    return abs(few[0] - many[0]) <= Fraction(1, 2) * Fraction(10) ** (-few[1])
