"""Waiting for something to become true, never for longer than said."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class DeadlinePassed(AssertionError):
    """What was waited for did not come; the text says what, and what was seen last."""


def wait_for(probe: Callable[[], T], *, deadline: float = 10.0, what: str = "", every: float = 0.02) -> T:
    """Calls `probe` until it returns something true, which is returned; raises DeadlinePassed after `deadline` seconds."""
    until = time.monotonic() + deadline
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > until:
            raise DeadlinePassed(f"{what or getattr(probe, '__name__', 'the condition')}: not within {deadline:g} s; last seen: {value!r}")
        time.sleep(every)
