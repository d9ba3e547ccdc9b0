"""DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13): a response learns to finish before it is cut."""

from __future__ import annotations


def overlong_punishment(length: int, *, limit: int, buffer: int) -> float:
    """0 up to `limit − buffer`, then falling linearly to −1 at `limit`; all in tokens. A response cut at the limit gets −1."""
    free = limit - buffer
    if length <= free:
        return 0.0
    return max((free - length) / buffer, -1.0)
