"""Numbers as a person reads them: shares as per cent, times as minutes, missing values as a dash."""

from __future__ import annotations

from collections.abc import Sequence

MISSING = "–"
_BLOCKS = "▁▂▃▄▅▆▇█"


def percent(share: float | None) -> str:
    return MISSING if share is None else f"{100 * share:.1f} %"


def number(value: float | None, digits: int = 3) -> str:
    """Three decimals for values around one, significant digits for small ones."""
    if value is None:
        return MISSING
    if value == 0 or abs(value) >= 10 ** (1 - digits):
        return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.{digits - 1}g}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return MISSING
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def printable(text: str) -> str:
    """One line that cannot move a terminal's cursor, whatever a message quotes."""
    return "".join(char if char.isprintable() else " " for char in text)


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The values as bars between their least and greatest, oldest left, means of equal stretches when there are more than fit.
    A stretch without a value is a blank."""
    if not values or width < 1:
        return ""
    width = min(width, len(values))
    stretches = [values[len(values) * i // width : len(values) * (i + 1) // width] for i in range(width)]
    means = [sum(known) / len(known) if (known := [v for v in stretch if v is not None]) else None for stretch in stretches]
    seen = [mean for mean in means if mean is not None]
    if not seen:
        return ""
    low, spread = min(seen), max(seen) - min(seen)
    top = len(_BLOCKS) - 1
    return "".join(" " if mean is None else _BLOCKS[round((mean - low) / spread * top) if spread else top // 2] for mean in means)
