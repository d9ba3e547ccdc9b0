"""The value of an expression, exactly where it is rational, to many digits elsewhere, and never at any price.

`9^{9^{9}}` is an answer of eight characters and a number of 370 million digits. So every step asks first how large its result would be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]

from reasonrl.rl.answers.syntax import (
    Constant,
    Degrees,
    Function,
    Negative,
    Node,
    Number,
    Percent,
    Power,
    Product,
    Quotient,
    Sum,
    Symbol,
)

Value = Any
"""An mpmath number, real or complex."""

_MAX_EXACT_BITS = 40_000
_MAX_EXACT_FACTORIAL = 2_000
_MAX_EXPONENT_BITS = 1_000_000
"""Bits of the binary exponent's own size are few; this bounds log2 of any value that is computed with."""
_MAX_ANGLE = 1e9
_MAX_GAMMA = 1e6


class NoValueError(Exception):
    """Not a number: undefined there, or not an expression at all."""


class TooLargeError(Exception):
    """A number too large to compute with."""


def exact(node: Node) -> Fraction | None:
    """The value as a fraction, or None when it is none, or not seen to be one. Raises NoValueError for a division by zero and
    TooLargeError."""
    match node:
        case Number(value):
            return value
        case Negative(operand):
            inner = exact(operand)
            return None if inner is None else -inner
        case Sum(terms):
            total = Fraction(0)
            for term in terms:
                value_of_term = exact(term)
                if value_of_term is None:
                    return None
                total += value_of_term
            return total
        case Product(factors):
            product = Fraction(1)
            for factor in factors:
                value_of_factor = exact(factor)
                if value_of_factor is None:
                    return None
                product = _bounded(product * value_of_factor)
            return product
        case Quotient(above, below):
            over, under = exact(above), exact(below)
            if under == 0:
                raise NoValueError("a division by zero")
            return None if over is None or under is None else over / under
        case Percent(operand):
            inner = exact(operand)
            return None if inner is None else inner / 100
        case Power(base, exponent):
            return _exact_power(exact(base), exact(exponent))
        case Function(name, arguments):
            return _exact_function(name, arguments)
        case _:
            return None


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > _MAX_EXACT_BITS:
        raise TooLargeError
    return value


def _exact_power(base: Fraction | None, exponent: Fraction | None) -> Fraction | None:
    if base is None or exponent is None or exponent.denominator != 1:
        return None
    if base == 0 and exponent <= 0:
        raise NoValueError("zero to a power that is not positive")
    if base in (0, 1, -1):
        return base if exponent.numerator % 2 else base * base
    bits = (base.numerator.bit_length() + base.denominator.bit_length()) * abs(exponent.numerator)
    return base**exponent.numerator if bits <= _MAX_EXACT_BITS else None


def _exact_function(name: str, arguments: tuple[Node, ...]) -> Fraction | None:
    values = [exact(each) for each in arguments]
    if any(value is None for value in values):
        return None
    numbers = [value for value in values if value is not None]
    whole = all(value.denominator == 1 for value in numbers)
    first = numbers[0]
    match name:
        case "abs":
            return abs(first)
        case "floor":
            return Fraction(math.floor(first))
        case "ceiling":
            return Fraction(math.ceil(first))
        case "max":
            return max(numbers)
        case "min":
            return min(numbers)
        case "mod" if len(numbers) == 2:
            if numbers[1] == 0:
                raise NoValueError("a remainder by zero")
            return first % numbers[1]
        case "factorial" if whole and 0 <= first <= _MAX_EXACT_FACTORIAL:
            return Fraction(math.factorial(first.numerator))
        case "binomial" if whole and 0 <= numbers[1] <= first <= _MAX_EXACT_FACTORIAL:
            return Fraction(math.comb(first.numerator, numbers[1].numerator))
        case "gcd" if whole:
            return Fraction(math.gcd(*(value.numerator for value in numbers)))
        case "lcm" if whole:
            return _bounded(Fraction(math.lcm(*(value.numerator for value in numbers))))
        case "root" if first >= 0 and numbers[1].denominator == 1 and 1 <= numbers[1] <= 64:
            return _exact_root(first, numbers[1].numerator)
        case _:
            return None


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    parts = [_whole_root(part, degree) for part in (value.numerator, value.denominator)]
    return None if parts[0] is None or parts[1] is None else Fraction(parts[0], parts[1])


def _whole_root(value: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(value)
    elif value.bit_length() < 900:
        root = round(value ** (1 / degree))
    else:
        return None
    return root if root**degree == value else None


@dataclass(slots=True)
class Evaluator:
    """Evaluates at a point; `left_reals` turns true when a real input led through a non-real value (an even root of a negative number,
    a logarithm of one): over the reals the expression is undefined there. `digits` is the working precision, in decimal digits."""

    point: Mapping[str, Value]
    digits: int
    left_reals: bool = False

    def value(self, node: Node) -> Value:
        """Raises NoValueError and TooLargeError."""
        with mpmath.workdps(self.digits):
            try:
                result = self._value(node)
            except (ZeroDivisionError, ValueError, mpmath.libmp.ComplexResult) as error:
                raise NoValueError(str(error)) from error
            except (OverflowError, mpmath.libmp.NoConvergence) as error:
                raise TooLargeError(str(error)) from error
            if not mpmath.isfinite(result):
                raise NoValueError("not finite")
            return result

    def _value(self, node: Node) -> Value:
        match node:
            case Number(value):
                return mpmath.mpf(value.numerator) / value.denominator
            case Symbol(name):
                if name not in self.point:
                    raise NoValueError(f"{name} has no value")
                return self.point[name]
            case Constant("pi"):
                return +mpmath.pi
            case Constant("e"):
                return +mpmath.e
            case Constant("i"):
                return mpmath.mpc(0, 1)
            case Negative(operand):
                return -self._value(operand)
            case Sum(terms):
                return mpmath.fsum(self._value(term) for term in terms)
            case Product(factors):
                return _small(mpmath.fprod(self._value(factor) for factor in factors))
            case Quotient(above, below):
                return _small(self._value(above) / self._value(below))
            case Percent(operand):
                return self._value(operand) / 100
            case Degrees(operand):
                return self._value(operand) * mpmath.pi / 180
            case Power(base, exponent):
                return self._power(self._value(base), self._value(exponent))
            case Function(name, arguments):
                return self._function(name, [self._value(argument) for argument in arguments])
            case _:
                raise NoValueError(f"{type(node).__name__} has no value")

    def _power(self, base: Value, exponent: Value) -> Value:
        if base == 0:
            if mpmath.re(exponent) <= 0:
                raise NoValueError("zero to a power that is not positive")
            return base
        if abs(exponent) > 4 * _MAX_EXPONENT_BITS and abs(base) != 1:
            raise TooLargeError
        if abs(exponent * mpmath.log(abs(base), 2)) > _MAX_EXPONENT_BITS:
            raise TooLargeError
        if _is_real(base) and base < 0 and not (_is_real(exponent) and mpmath.isint(exponent)):
            self.left_reals = True
        return mpmath.power(base, exponent)

    def _function(self, name: str, arguments: list[Value]) -> Value:
        first = arguments[0]
        if name in _PLAIN_FUNCTIONS and len(arguments) == 1:
            if abs(first) > _MAX_ANGLE:
                raise TooLargeError
            result = _PLAIN_FUNCTIONS[name](first)
            self._note(arguments, result)
            return result
        if name in ("ln", "log"):
            base = arguments[1] if len(arguments) > 1 else mpmath.e if name == "ln" else mpmath.mpf(10)
            if first == 0 or base in (0, 1):
                raise NoValueError("a logarithm of zero, or to the base 1")
            result = mpmath.log(first) / mpmath.log(base)
            self._note(arguments, result)
            return result
        match name:
            case "root":
                return self._root(first, arguments[1])
            case "abs":
                return abs(first)
            case "floor" | "ceiling":
                return _rounded(first, name)
            case "factorial" | "binomial":
                if max(abs(argument) for argument in arguments) > _MAX_GAMMA:
                    raise TooLargeError
                return mpmath.factorial(first) if name == "factorial" else mpmath.binomial(first, arguments[1])
            case "double factorial" if abs(first) <= _MAX_GAMMA:
                return mpmath.fac2(first)
            case "max" | "min" if all(map(_is_real, arguments)):
                return max(arguments) if name == "max" else min(arguments)
            case "mod" if len(arguments) == 2 and all(map(_is_real, arguments)) and arguments[1] != 0:
                return first - arguments[1] * _rounded(first / arguments[1], "floor")
            case _:
                raise NoValueError(f"the function {name}")

    def _root(self, radicand: Value, degree: Value) -> Value:
        if degree == 0:
            raise NoValueError("a zeroth root")
        # Over the reals an odd root of a negative number is negative, and not the principal complex one.
        if _is_real(radicand) and radicand < 0 and _is_real(degree) and mpmath.isint(degree) and int(degree) % 2:
            return -self._power(-radicand, 1 / degree)
        if degree == 2:
            result = mpmath.sqrt(radicand)
            self._note([radicand], result)
            return result
        return self._power(radicand, 1 / degree)

    def _note(self, arguments: list[Value], result: Value) -> None:
        if all(map(_is_real, arguments)) and not _is_real(result):
            self.left_reals = True


_PLAIN_FUNCTIONS = {
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "tan": mpmath.tan,
    "cot": mpmath.cot,
    "sec": mpmath.sec,
    "csc": mpmath.csc,
    "arcsin": mpmath.asin,
    "arccos": mpmath.acos,
    "arctan": mpmath.atan,
    "arccot": mpmath.acot,
    "arcsec": mpmath.asec,
    "arccsc": mpmath.acsc,
    "sinh": mpmath.sinh,
    "cosh": mpmath.cosh,
    "tanh": mpmath.tanh,
    "coth": mpmath.coth,
    "exp": mpmath.exp,
}


def _is_real(value: Value) -> bool:
    return not isinstance(value, mpmath.mpc) or value.imag == 0


def _small(value: Value) -> Value:
    if value and abs(mpmath.mag(value)) > 2 * _MAX_EXPONENT_BITS:
        raise TooLargeError
    return value


def _rounded(value: Value, name: str) -> Value:
    """Floor or ceiling; a value within the working precision of a whole number is that number."""
    if not _is_real(value):
        raise NoValueError("a rounded complex number")
    nearest = mpmath.nint(value)
    if abs(value - nearest) < mpmath.mpf(10) ** (-mpmath.mp.dps // 2):
        return nearest
    return mpmath.floor(value) if name == "floor" else mpmath.ceil(value)
