"""What is said to a fleet's dispatcher, and how patient it is."""

from __future__ import annotations

import queue
from dataclasses import dataclass

from reasonrl.rollout.engine_session import EngineSession
from reasonrl.rollout.fleet_call import Call
from reasonrl.rollout.fleet_member import Member, Report
from reasonrl.rollout.fleet_weights import WeightSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetLimits:
    """Seconds. An engine is lost when it does not answer for `heartbeat_seconds`, makes no step for `task_seconds` with tasks in hand,
    or does not take weights (or sleep, or wake) in `load_seconds`. A call waits `empty_seconds` for an engine when none is left."""

    heartbeat_seconds: float = 30.0
    task_seconds: float = 600.0
    load_seconds: float = 600.0
    empty_seconds: float = 900.0

    @property
    def poll_seconds(self) -> float:
        """How long an engine may hold back its answer while nothing is complete."""
        return min(1.0, self.heartbeat_seconds / 4)


@dataclass(frozen=True, slots=True)
class Join:
    name: str
    session: EngineSession
    reply: queue.SimpleQueue[None]


@dataclass(frozen=True, slots=True)
class Leave:
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class StopCall:
    number: int


@dataclass(frozen=True, slots=True)
class NewWeights:
    weights: WeightSnapshot
    reply: queue.SimpleQueue[Exception | None]


@dataclass(frozen=True, slots=True)
class AllSleep:
    reply: queue.SimpleQueue[Exception | None]


@dataclass(frozen=True, slots=True)
class Tell:
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Fail:
    error: Exception


@dataclass(frozen=True, slots=True)
class Close:
    reply: queue.SimpleQueue[list[Member]]


Message = Join | Leave | Call | StopCall | NewWeights | AllSleep | Tell | Fail | Close | Report
