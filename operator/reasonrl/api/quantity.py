"""Quantities of bytes as Kubernetes writes them: `512Mi`, `50Gi`, `1.5G`, or a plain number of bytes."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "E": 10**18,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
    "Ei": 2**60,
}
_QUANTITY = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)([a-zA-Z]*)")
_ANY_QUANTITY = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)([numkMGTPE]|[KMGTPE]i)?")
_BINARY = ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")


def parse_quantity(value: object) -> int:
    """Bytes of a quantity. Raises ValueError, with the units that exist, for anything else, and for part of a byte."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise ValueError("give a quantity of bytes such as 50Gi, or a whole number of bytes")
    match = _QUANTITY.fullmatch(value.strip())
    if match is None:
        raise ValueError("give a quantity of bytes such as 50Gi, 512Mi or 1.5G")
    number, unit = match.groups()
    if unit not in _UNITS:
        raise ValueError(
            f"unknown unit {unit!r}; use {', '.join(filter(None, _UNITS))}, or no unit for bytes (KB, MB and GB are written k, M and G)"
        )
    found = Decimal(number) * _UNITS[unit]
    if found != int(found):
        raise ValueError(f"{value} is not a whole number of bytes")
    return int(found)


def quantity_text(value: object) -> str:
    """A quantity of anything as text, such as `500m` or `64Gi`. Raises ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    if isinstance(value, str) and _ANY_QUANTITY.fullmatch(value):
        return value
    if isinstance(value, float):
        raise ValueError(f"put a quantity with a fraction in quotes: '{value:g}', or write it in thousandths, {round(value * 1000)}m")
    raise ValueError("give a quantity such as 4, 500m or 64Gi")


def amount_of(text: str) -> Decimal:
    """The number that a quantity of anything stands for: `500m` is 0.5, `1Ki` is 1024."""
    match = _ANY_QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no quantity")
    unit = match[2] or ""
    small = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
    return Decimal(text.removesuffix(unit)) * (small[unit] if unit in small else _UNITS[unit])


def format_quantity(value: int) -> str:
    """The shortest exact quantity: `parse_quantity(format_quantity(n)) == n`."""
    for unit in _BINARY:
        if value >= _UNITS[unit] and value % _UNITS[unit] == 0:
            return f"{value // _UNITS[unit]}{unit}"
    return str(value)


def readable_bytes(value: float) -> str:
    """For people: three significant digits in binary units, such as `14.2 GiB`."""
    for unit in _BINARY:
        if abs(value) >= _UNITS[unit]:
            return f"{value / _UNITS[unit]:.3g} {unit}B" if abs(value) / _UNITS[unit] < 1000 else f"{value / _UNITS[unit]:.0f} {unit}B"
    return f"{value:.0f} B"
