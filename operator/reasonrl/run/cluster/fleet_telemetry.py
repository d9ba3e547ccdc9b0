"""What happens to the rollout engines, for the people who watch the run: as events, and as the numbers behind them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from reasonrl.api.run_files import Event
from reasonrl.rollout.fleet import RolloutFleet
from reasonrl.run.telemetry.telemetry import Telemetry

ENGINE = "engine"
"""The component of `reasonrl_recoveries`."""


class FleetTelemetry:
    """`step` says where the run stands. The fleet speaks from its own threads; `watch` it as soon as it is there."""

    def __init__(self, telemetry: Telemetry, *, step: Callable[[], int]) -> None:
        self._telemetry = telemetry
        self._step = step
        self._lock = threading.Lock()
        self._fleet: RolloutFleet | None = None
        self._requeued = 0
        self._missing = 0

    def watch(self, fleet: RolloutFleet) -> None:
        self._fleet = fleet

    def tell(self, reason: str, message: str) -> None:
        """An engine that joins after another was lost has taken its place."""
        self._telemetry.event(Event(time=time.time(), step=self._step(), reason=reason, message=message))
        with self._lock:
            if reason == "RolloutLost":
                self._missing += 1
            elif reason == "RolloutJoined" and self._missing:
                self._missing -= 1
                self._telemetry.recovered(ENGINE)
            if self._fleet is not None:
                self._telemetry.rollout_engines(Counter(str(member.presence) for member in self._fleet.members()))
                requeued = self._fleet.requeued_tasks
                self._telemetry.requeued_tasks(requeued - self._requeued)
                self._requeued = requeued
