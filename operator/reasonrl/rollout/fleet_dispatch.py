"""The mind of a fleet: one thread that knows every member and every task, and alone decides.

All others send it messages: the run (sample, load, sleep), whoever watches the pods (join, leave), and the members' threads (reports). It
never blocks and holds no lock, so an exception that a signal raises in the run's thread can leave nothing half done here.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable

from reasonrl.rollout.engine_session import Collected, EngineLostError, EngineSession, EnginesLostError, WeightsGoneError
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.fleet_call import Call, deal, fault_in, refusal, tried_again
from reasonrl.rollout.fleet_member import Load, Member, Order, Presence, Report, Sleep, Stop, Wake, Work, serve
from reasonrl.rollout.fleet_messages import AllSleep, Close, Fail, FleetLimits, Join, Leave, Message, NewWeights, StopCall, Tell
from reasonrl.rollout.fleet_weights import WeightSnapshot
from reasonrl.rollout.protocol import WeightLoadError
from reasonrl.rollout.task import RolloutTask

logger = logging.getLogger(__name__)

_LOST_SHOWN = 32
_MISMATCHES = 2
NO_WEIGHTS = "no weights were loaded into the rollout fleet yet, and its engines come without"


class Dispatcher:
    """`run` is the thread's body; `inbox` takes messages from any thread. The other attributes are the thread's own, except that
    `members`, `version`, `requeued` and `fault` may be read."""

    def __init__(self, limits: FleetLimits, *, version: int | None, on_event: Callable[[str, str], None]) -> None:
        self.inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.members: dict[str, Member] = {}
        self.version = version
        self.failure: Exception | None = None
        self.requeued = 0
        self._mismatch: WeightLoadError | None = None
        self._limits = limits
        self._on_event = on_event
        self._published: WeightSnapshot | None = None
        self._before: tuple[WeightSnapshot | None, int | None] = (None, version)
        self._call: Call | None = None
        self._loading: queue.SimpleQueue[Exception | None] | None = None
        self._sleeping: queue.SimpleQueue[Exception | None] | None = None
        self._rest = False
        self._empty_since: float | None = None
        self._leaving: list[Member] = []
        self._closed = False

    @property
    def fault(self) -> Exception | None:
        """What every call is answered with: a failure stays, weights that a newcomer did not take may be followed by better ones."""
        return self.failure or self._mismatch

    def run(self) -> None:
        tick = self._limits.poll_seconds / 4
        try:
            while not self._closed:
                with contextlib.suppress(queue.Empty):
                    self._handle(self.inbox.get(timeout=tick))
                self._retire_overdue()
                self._give_orders()
                self._conclude()
        except Exception as error:
            logger.exception("the rollout fleet broke")
            self.failure = error
            self._end_call(RolloutError(f"the rollout fleet broke: {type(error).__name__}: {error}"))

    def _handle(self, message: Message) -> None:
        match message:
            case Report():
                self._heard(message)
            case Join(name, session, reply):
                self._join(name, session)
                reply.put(None)
            case Leave(name, reason):
                self._leave(name, reason)
            case Call():
                self._end_call(RolloutError("another call of sample began"))
                self._call, self._rest, self._empty_since = message, False, None
                if (fault := self.fault) is not None:
                    self._end_call(fault)
                elif self.version is None:
                    self._end_call(RolloutError(NO_WEIGHTS))
            case StopCall(number):
                if self._call is not None and self._call.number == number:
                    self._end_call(RolloutError("the call was interrupted"))
            case NewWeights():
                self._start_load(message)
            case AllSleep(reply):
                self._end_call(RolloutError("the engines were put to sleep"))
                if self._published is None:
                    reply.put(
                        RolloutError("engines can only sleep after weights were loaded into the fleet: they need them when they wake")
                    )
                else:
                    self._sleeping, self._rest = reply, True
            case Tell(reason, text):
                self._tell(reason, text)
            case Fail(error):
                self.failure = self.failure or error
                self._end_call(error)
            case Close(reply):
                self._end_call(RolloutError("the rollout fleet was closed"))
                members = [member for member in self.members.values() if member.presence is not Presence.LOST]
                for member in members:
                    member.orders.put(Stop(kill=False))
                reply.put([*members, *self._leaving])
                self._closed = True

    def _join(self, name: str, session: EngineSession) -> None:
        known = self.members.pop(name, None)
        if known is not None and known.presence is not Presence.LOST:
            self._retire(known, "an engine of the same name took its place")
        now = time.monotonic()
        member = Member(name=name, session=session, heard=now, moved=now)
        member.thread = threading.Thread(target=serve, args=(member, self.inbox.put), name=f"fleet member {name}", daemon=True)
        self.members[name] = member
        member.thread.start()

    def _leave(self, name: str, reason: str) -> None:
        member = self.members.pop(name, None)
        if member is None or member.presence is Presence.LOST:
            return
        member.presence = Presence.LOST
        member.orders.put(Stop(kill=False))
        self._leaving = [*(each for each in self._leaving if each.thread is not None and each.thread.is_alive()), member]
        tasks = self._take_back(member)
        if self._call is not None:
            self._call.give_back(tasks)
        self._tell("RolloutLeft", f"{name} left: {reason}; {self._requeued(tasks)}")

    def _start_load(self, message: NewWeights) -> None:
        self._end_call(RolloutError("other weights were loaded"))
        if self.failure is not None:
            message.reply.put(self.failure)
            return
        self._before = (self._published, self.version)
        self._use(message.weights, message.weights.version)
        self._loading, self._rest, self._mismatch = message.reply, False, None

    def _use(self, weights: WeightSnapshot | None, version: int | None) -> None:
        self._published, self.version = weights, version
        for member in self.members.values():
            member.current, member.mismatches = False, 0

    def _heard(self, report: Report) -> None:
        member, error = report.member, report.error
        if member.presence is Presence.LOST:
            return
        member.order = None
        if isinstance(error, WeightLoadError):
            self._mismatched(member, error)
            return
        if isinstance(error, WeightsGoneError):
            self._weights_gone(error)
            return
        if error is not None:
            self._retire(member, str(error) if isinstance(error, EngineLostError) else f"{type(error).__name__}: {error}")
            return
        member.heard = time.monotonic()
        match report.order:
            case Load(weights):
                member.version = weights.version
                if weights is self._published:
                    self._is_current(member)
            case Sleep():
                member.asleep, member.current = True, False
            case Wake():
                member.asleep = False
            case Work(abandon=abandon) if report.collected is not None:
                member.must_abandon = member.must_abandon and not abandon
                self._collect(member, report.collected)

    def _collect(self, member: Member, collected: Collected) -> None:
        if not member.current:
            member.version = collected.weight_version
            if self._published is not None or self.version is None:
                return
            if member.version == self.version:
                self._is_current(member)
            else:
                self._retire(
                    member, f"it holds weights of version {member.version}, the fleet those of {self.version}, and none were published"
                )
            return
        if collected.weight_version != member.version:
            self._retire(member, f"it says that it holds weights of version {collected.weight_version} after it took {member.version}")
            return
        if collected.steps != member.steps or not collected.unfinished:
            member.steps, member.moved = collected.steps, member.heard
        member.unwritten = collected.unwritten
        fault = None
        for outcome in collected.outcomes:
            call = self._call
            if call is None or outcome.call != call.number:
                continue
            task = member.hand.get(outcome.number)
            if outcome.refused:
                self._end_call(refusal(outcome))
                return
            if task is None:
                fault = f"it answered task {outcome.number}, which it was not given"
                continue
            wrong = outcome.error or (
                None if outcome.groups is None else fault_in(outcome.groups, task, weight_version=collected.weight_version)
            )
            if outcome.groups is None or wrong is not None:
                fault = wrong or "it ended a task without an answer"
                continue
            call.done[outcome.number] = outcome.groups
            del member.hand[outcome.number]
            member.tasks_done += 1
            member.responses_done += task.responses
            member.tokens_done += sum(len(response.tokens) for group in outcome.groups for response in group)
        if fault is not None:
            self._retire(member, fault)

    def _mismatched(self, member: Member, error: WeightLoadError) -> None:
        member.current = False
        member.heard = time.monotonic()
        member.mismatches += 1
        if member.mismatches < _MISMATCHES:
            self._tell("WeightMismatch", f"{member.name} is given the weights of version {self.version} again: {error}")
            return
        final = WeightLoadError(f"{member.name} did not take the weights of version {self.version}, twice: {error}")
        self._tell("WeightMismatch", str(final))
        if self._loading is not None:
            self._loading.put(final)
            self._loading = None
            self._use(*self._before)
        else:
            self._retire(member, str(error))
            self._mismatch = final
            self._end_call(final)

    def _weights_gone(self, error: WeightsGoneError) -> None:
        """No member is to blame, and no other would fare better."""
        if self.failure is None:
            self.failure = error
            self._tell("WeightsGone", str(error))
        if self._loading is not None:
            self._loading.put(error)
            self._loading = None
        self._end_call(error)

    def _is_current(self, member: Member) -> None:
        member.current = True
        if member.presence is Presence.JOINING:
            member.presence = Presence.LIVE
            self._tell("RolloutJoined", f"{member.name} joined with weights of version {member.version}; {self._live()} live")

    def _retire_overdue(self) -> None:
        now = time.monotonic()
        limits = self._limits
        for member in self._present():
            if member.order is not None and now > member.due:
                doing = type(member.order).__name__.lower()
                self._retire(member, f"no answer for {now - member.heard:.1f} s (order: {doing})")
            elif member.hand and now - member.moved > limits.task_seconds:
                self._retire(member, f"it answers but made no step in {limits.task_seconds:.0f} s with {len(member.hand)} tasks in hand")

    def _retire(self, member: Member, fault: str) -> None:
        stuck = member.order is not None
        member.presence, member.fault, member.current = Presence.LOST, fault, False
        member.orders.put(Stop(kill=True))
        if stuck:
            # Its thread is inside a call that may never return.
            threading.Thread(target=member.session.kill, name=f"end of {member.name}", daemon=True).start()
        tasks = self._take_back(member)
        self._tell("RolloutLost", f"{member.name} is lost: {fault}; {self._requeued(tasks)}; {self._live()} live")
        if self._call is not None and tasks:
            try:
                self._call.give_back([tried_again(task, reason=f"{member.name}: {fault}") for task in tasks])
            except RolloutError as error:
                self._end_call(error)
        lost = [name for name, each in self.members.items() if each.presence is Presence.LOST]
        for name in lost[:-_LOST_SHOWN]:
            del self.members[name]

    def _take_back(self, member: Member) -> list[RolloutTask]:
        tasks = member.drop()
        self.requeued += len(tasks)
        return tasks

    def _give_orders(self) -> None:
        now = time.monotonic()
        ready = []
        for member in self._present():
            if member.order is not None:
                continue
            order = self._order_before_work(member)
            if order is not None:
                self._send(member, order, now)
            else:
                ready.append(member)
        shares = deal(self._call, ready, live=self._live())
        for member in ready:
            tasks = shares[member.name]
            if tasks and not member.hand:
                member.moved = now
            member.take(tasks)
            if member.hand:
                self._send(member, Work(tasks=tuple(tasks), wait_seconds=self._limits.poll_seconds), now)
            elif now - member.heard > self._limits.poll_seconds:
                self._send(member, Work(), now)

    def _order_before_work(self, member: Member) -> Order | None:
        if member.must_abandon:
            return Work(abandon=True)
        if self._rest:
            return None if member.asleep else Sleep(self._limits.load_seconds)
        if member.asleep:
            return Wake(self._limits.load_seconds)
        if member.current:
            return None
        if self._published is not None:
            return Load(self._published, self._limits.load_seconds)
        # It must say what it holds, unless that does not matter yet.
        return None if self.version is None else Work()

    def _send(self, member: Member, order: Order, now: float) -> None:
        match order:
            case Work(wait_seconds=wait):
                patience = wait + self._limits.heartbeat_seconds
            case _:
                patience = self._limits.load_seconds
        member.order, member.due = order, now + patience
        member.orders.put(order)

    def _conclude(self) -> None:
        present = self._present()
        if self._loading is not None and all(member.current for member in present):
            self._loading.put(None)
            self._loading = None
            # Nobody goes back any more: the weights from before are let go.
            self._before = (self._published, self.version)
        if self._sleeping is not None and all(member.asleep for member in present):
            self._sleeping.put(None)
            self._sleeping = None
        if self._call is None:
            return
        if self._call.complete:
            self._call.reply.put(self._call.groups)
            self._call = None
        elif self._live():
            self._empty_since = None
        else:
            now = time.monotonic()
            self._empty_since = self._empty_since or now
            if not present and now - self._empty_since >= self._limits.empty_seconds:
                faults = "; ".join(f"{member.name}: {member.fault}" for member in self.members.values()) or "none ever joined"
                self._end_call(
                    EnginesLostError(f"no rollout engine is left and none joined in {self._limits.empty_seconds:.0f} s: {faults}")
                )

    def _end_call(self, error: Exception) -> None:
        call, self._call = self._call, None
        if call is None:
            return
        for member in self._present():
            if member.hand:
                member.drop()
                member.must_abandon = True
        call.reply.put(error)

    def _present(self) -> list[Member]:
        return [member for member in self.members.values() if member.presence is not Presence.LOST]

    def _live(self) -> int:
        return sum(member.presence is Presence.LIVE for member in self.members.values())

    def _requeued(self, tasks: list[RolloutTask]) -> str:
        return f"{len(tasks)} tasks go back to the queue" if tasks else "no task was in its hands"

    def _tell(self, reason: str, message: str) -> None:
        logger.info("%s: %s", reason, message)
        try:
            self._on_event(reason, message)
        except Exception:
            logger.exception("an event of the rollout fleet could not be told: %s", message)
