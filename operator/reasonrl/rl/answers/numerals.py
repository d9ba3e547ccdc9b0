"""Numbers as they are written: decimals, repeating decimals, powers of ten, mixed numbers."""

from __future__ import annotations

import re
from fractions import Fraction

from reasonrl.rl.answers.cursor import ParseError
from reasonrl.rl.answers.syntax import Number

_MAX_DIGITS = 3000
_MAX_EXPONENT = 3000
_NUMERAL = re.compile(r"(\d*)(?:\.(\d*))?(?:\((\d+)\))?(?:[eE]([+-]?\d+))?")


def number_of(text: str) -> Number:
    """The value of a numeral. `0.1(6)` repeats the digits in brackets. Raises ParseError for one too long to be an answer."""
    match = _NUMERAL.fullmatch(text)
    if match is None or len(text) > _MAX_DIGITS:
        raise ParseError("a numeral that cannot be read")
    whole, decimals, repeating, exponent = match.groups()
    decimals = decimals or ""
    value = Fraction(int((whole or "0") + decimals), 10 ** len(decimals))
    if repeating:
        value += Fraction(int(repeating), (10 ** len(repeating) - 1) * 10 ** len(decimals))
        return Number(value)
    places = len(decimals) if "." in text and decimals else None
    if exponent:
        if abs(int(exponent)) > _MAX_EXPONENT:
            raise ParseError("a power of ten beyond any answer")
        value *= Fraction(10) ** int(exponent)
        places = len(decimals) - int(exponent)
    return Number(value, places)


def mixed_number(whole: Number, above: Number, below: Number) -> Number | None:
    """2 and 3/4, when that is what it is: whole numbers throughout and a proper fraction."""
    parts = (whole, above, below)
    if any(part.places is not None or part.value.denominator != 1 for part in parts) or not 0 < above.value < below.value:
        return None
    return Number(whole.value + above.value / below.value)
