"""Seconds by stage of a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Collects wall-clock seconds under stage names until `lap` takes them. `announce` is told of each stage as it begins."""

    def __init__(self, announce: Callable[[str], None]) -> None:
        self._announce = announce
        self._seconds: dict[str, float] = {}
        self._started = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._announce(name)
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - started

    def lap(self) -> dict[str, float]:
        """Seconds by stage since the last lap, with `total`."""
        now = time.monotonic()
        seconds = {**self._seconds, "total": now - self._started}
        self._seconds = {}
        self._started = now
        return seconds
