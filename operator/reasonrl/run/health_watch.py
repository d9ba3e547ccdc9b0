"""Keeps the window of step records that the health signals read, and tells each warning once until it has cleared."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from reasonrl.api.run_files import StepMetrics
from reasonrl.rl.health import EARLIER, RECENT, HealthWarning, health_warnings


class HealthWatch:
    """`earlier` are the records of a resumed run, oldest first."""

    def __init__(self, earlier: Sequence[StepMetrics] = ()) -> None:
        self._history: deque[StepMetrics] = deque(earlier, maxlen=RECENT + EARLIER)
        self._standing = {warning.signal for warning in health_warnings(list(self._history))}

    def new_warnings(self, metrics: StepMetrics) -> list[HealthWarning]:
        self._history.append(metrics)
        warnings = health_warnings(list(self._history))
        fresh = [warning for warning in warnings if warning.signal not in self._standing]
        self._standing = {warning.signal for warning in warnings}
        return fresh
