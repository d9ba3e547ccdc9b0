"""One engine of a fleet: what the fleet knows of it, and the thread that talks to it.

The thread carries out one order at a time and reports; the dispatcher, which alone changes what is recorded here, answers each report
with the next order. So a session that blocks holds up nobody but itself.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from reasonrl.rollout.engine_session import Collected, EngineSession
from reasonrl.rollout.fleet_weights import WeightSnapshot
from reasonrl.rollout.task import RolloutTask


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Abandon first if told to, then take `tasks`, then collect. Without tasks in hand it is a ping."""

    tasks: tuple[RolloutTask, ...] = ()
    abandon: bool = False
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    weights: WeightSnapshot
    seconds: float


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class Wake:
    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """End the thread, and the engine with it: in good order, or not."""

    kill: bool


Order = Work | Load | Sleep | Wake | Stop


class Presence(StrEnum):
    """Where a member stands: on its way (it has not got the weights yet), at work, or lost."""

    JOINING = "joining"
    LIVE = "live"
    LOST = "lost"


@dataclass(eq=False, slots=True)
class Member:
    """`current`: it surely holds the fleet's weights; `version` is what it last said it holds. `order` is what it is at, None when it
    waits for one, and `due` when it must have reported. `unwritten` are the responses of its tasks in `hand` that are not complete, as
    far as is known. `moved` is when its `steps` last changed or its hands were last empty. Times are of `time.monotonic()`."""

    name: str
    session: EngineSession
    heard: float
    orders: queue.SimpleQueue[Order] = field(default_factory=queue.SimpleQueue)
    thread: threading.Thread | None = None
    presence: Presence = Presence.JOINING
    fault: str | None = None
    order: Order | None = None
    due: float = 0.0
    current: bool = False
    version: int | None = None
    asleep: bool = False
    mismatches: int = 0
    hand: dict[int, RolloutTask] = field(default_factory=dict)
    unwritten: int = 0
    must_abandon: bool = False
    steps: int = 0
    moved: float = 0.0
    tasks_done: int = 0
    responses_done: int = 0
    tokens_done: int = 0

    def take(self, tasks: Iterable[RolloutTask]) -> None:
        for task in tasks:
            self.hand[task.number] = task
            self.unwritten += task.responses

    def drop(self) -> list[RolloutTask]:
        """All tasks in hand, which it has no more."""
        tasks = list(self.hand.values())
        self.hand.clear()
        self.unwritten = 0
        return tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberState:
    """What status and metrics say of a member. `heartbeat_age` in seconds. `fault` says why it was lost."""

    name: str
    presence: Presence
    fault: str | None
    weight_version: int | None
    tasks_in_hand: int
    tasks_done: int
    responses_done: int
    tokens_done: int
    heartbeat_age: float


def state_of(member: Member, *, now: float) -> MemberState:
    return MemberState(
        name=member.name,
        presence=member.presence,
        fault=member.fault,
        weight_version=member.version,
        tasks_in_hand=len(member.hand),
        tasks_done=member.tasks_done,
        responses_done=member.responses_done,
        tokens_done=member.tokens_done,
        heartbeat_age=max(0.0, now - member.heard),
    )


@dataclass(frozen=True, slots=True)
class Report:
    """What became of an order: what was collected, or the error, or neither when the order simply was carried out."""

    member: Member
    order: Order
    collected: Collected | None = None
    error: Exception | None = None


def serve(member: Member, report: Callable[[Report], None]) -> None:
    """The member's thread: carries out orders until told to stop."""
    session = member.session
    while True:
        order = member.orders.get()
        if isinstance(order, Stop):
            if order.kill:
                session.kill()
            else:
                session.close()
            return
        try:
            collected = _carry_out(session, order)
        except Exception as error:  # noqa: BLE001 - whatever a session raises, the dispatcher decides what follows
            report(Report(member, order, error=error))
        else:
            report(Report(member, order, collected=collected))


def _carry_out(session: EngineSession, order: Work | Load | Sleep | Wake) -> Collected | None:
    match order:
        case Load(weights, seconds):
            session.load(weights, version=weights.version, seconds=seconds)
        case Sleep(seconds):
            session.sleep(seconds=seconds)
        case Wake(seconds):
            session.wake(seconds=seconds)
        case Work():
            if order.abandon:
                session.abandon()
            if order.tasks:
                session.submit(order.tasks)
            return session.collect(order.wait_seconds)
    return None
