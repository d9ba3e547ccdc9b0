"""Numbers and times as sentences say them."""

from __future__ import annotations

import datetime

MISSING = "–"


def percent(share: float | None, digits: int = 1) -> str:
    return MISSING if share is None else f"{100 * share:.{digits}f} %"


def with_error(share: float, error: float) -> str:
    return f"{100 * share:.1f} % ± {100 * error:.1f}"


def points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")


def count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    if seconds < 99.5:
        return f"{seconds:.0f} seconds" if round(seconds) != 1 else "1 second"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} minutes"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(time: float) -> str:
    return datetime.datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M %Z")
