"""Times between Unix seconds, in which the operator counts, and the text that Kubernetes objects hold."""

from __future__ import annotations

import math
from datetime import UTC, datetime


def timestamp(seconds: float) -> str:
    """RFC 3339 in whole seconds, rounded down, as metav1.Time is written."""
    return datetime.fromtimestamp(math.floor(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: object) -> float | None:
    """Unix seconds of a timestamp; None for none, or for something that is not one."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def span(seconds: float) -> str:
    """A time span for people: `45 s`, `12 min`, `3 h 20 min`."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    if hours == 0:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
