"""Units of measure: their spellings, and what one is in terms of another."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

_SPELLINGS: dict[str, tuple[str, str, str]] = {
    # canonical: (dimension, size in the dimension's own unit, spellings)
    "m": ("length", "1", "m meter metre"),
    "mm": ("length", "1/1000", "mm millimeter millimetre"),
    "cm": ("length", "1/100", "cm centimeter centimetre"),
    "dm": ("length", "1/10", "dm decimeter decimetre"),
    "km": ("length", "1000", "km kilometer kilometre"),
    "inch": ("length", "127/5000", "in inch inche"),
    "foot": ("length", "381/1250", "ft foot feet"),
    "yard": ("length", "1143/1250", "yd yard"),
    "mile": ("length", "201168/125", "mi mile"),
    "s": ("time", "1", "s sec second"),
    "minute": ("time", "60", "min minute"),
    "hour": ("time", "3600", "h hr hour"),
    "day": ("time", "86400", "day"),
    "week": ("time", "604800", "week"),
    "g": ("mass", "1", "g gram gramme"),
    "mg": ("mass", "1/1000", "mg milligram"),
    "kg": ("mass", "1000", "kg kilogram kilo"),
    "ton": ("mass", "1000000", "ton tonne"),
    "pound": ("mass", "45359237/100000", "lb pound"),
    "ounce": ("mass", "45359237/1600000", "oz ounce"),
    "l": ("volume", "1", "l liter litre"),
    "ml": ("volume", "1/1000", "ml milliliter millilitre"),
    "dollar": ("dollar", "1", "dollar usd buck"),
    "cent": ("dollar", "1/100", "cent"),
    "degree": ("angle", "1", "degree deg"),
    "radian": ("radian", "1", "radian rad"),
}
_CANONICAL = {spelling: name for name, (_, _, spellings) in _SPELLINGS.items() for spelling in spellings.split()}
_SIZES = {name: (dimension, Fraction(size)) for name, (dimension, size, _) in _SPELLINGS.items()}
_POWER_WORDS = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cubed": "3"}


def canonical_unit(words: Sequence[str]) -> str:
    """One spelling of a unit or of counted things: singular, abbreviations as one, `/` for per, `^2` for square."""
    parts: list[str] = []
    pending = ""
    for word in words:
        lowered = word.lower() if len(word) > 1 else word
        if lowered == "per":
            parts.append("/")
        elif lowered in _POWER_WORDS:
            if lowered.endswith("ed") and parts:
                parts.append(f"^{_POWER_WORDS[lowered]}")
            else:
                pending = f"^{_POWER_WORDS[lowered]}"
        elif lowered == "·":
            continue
        elif lowered in ("^", "-", "/", "_") or lowered.isdigit():
            parts.append(lowered)
        else:
            parts.append(_CANONICAL.get(lowered) or _CANONICAL.get(_singular(lowered)) or _singular(lowered))
            if pending:
                parts.append(pending)
                pending = ""
    return " ".join(parts).replace(" ^ ", "^").replace(" ^", "^").replace(" / ", "/")


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("es") and word[-3] in "sxzh":
        return word[:-2]
    return word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith("ss") else word


def conversion(given: str, wanted: str) -> Fraction | None:
    """By what a value in `given` is multiplied to be in `wanted`; None when they measure different things."""
    if given == wanted:
        return Fraction(1)
    first, second = _size(given), _size(wanted)
    if first is None or second is None or first[0] != second[0]:
        return None
    return first[1] / second[1]


def _size(unit: str) -> tuple[str, Fraction] | None:
    """Dimension and size of a unit, of its square or cube, or of a quotient of two."""
    over = unit.split("/")
    if len(over) == 2:
        above, below = _size(over[0]), _size(over[1])
        return None if above is None or below is None else (f"{above[0]}/{below[0]}", above[1] / below[1])
    name, _, power = unit.partition("^")
    if name not in _SIZES or not (power == "" or power.isdigit()):
        return None
    dimension, size = _SIZES[name]
    return (dimension, size) if not power else (f"{dimension}^{power}", size ** int(power))
