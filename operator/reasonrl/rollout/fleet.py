"""A fleet of rollout engines behind the protocol of one, which may join, leave and die at any moment.

A call is cut into tasks that depend on the job alone, all engines are dealt tasks from one queue, and so the responses are the same
however many engines there are and whichever of them are lost on the way; a slow task never holds the rest. A newcomer gets the weights
last loaded before its first task. Every wait is bounded, and every loss is told with its reason.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

from reasonrl.rl.records import Prompt, Response
from reasonrl.rollout.engine_session import EngineSession
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.fleet_call import Groups, start_call
from reasonrl.rollout.fleet_dispatch import NO_WEIGHTS, Dispatcher
from reasonrl.rollout.fleet_member import Member, MemberState, state_of
from reasonrl.rollout.fleet_messages import AllSleep, Close, Fail, FleetLimits, Join, Leave, Message, NewWeights, StopCall, Tell
from reasonrl.rollout.fleet_weights import snapshot_of
from reasonrl.rollout.protocol import SamplingSetting
from reasonrl.rollout.task import cut_into_tasks

_Answer = TypeVar("_Answer")

_ALIVE_SECONDS = 1.0
_CLOSE_SECONDS = 60.0


class RolloutFleet:
    """A `RolloutEngine` of many. Engines come by `join`; there may be none yet.

    A task is `prompts_per_task` prompts with all their responses: fix it by the job, never by the number of engines. `weight_version` is
    that of the weights which engines hold before the first `load`; None: they hold none that are worth anything, and wait for it.

    `on_event(reason, message)` is told of joins, losses, leaves and weights that did not arrive, from a thread of the fleet: it must be
    quick and safe to call there. Reasons are RolloutJoined, RolloutLost, RolloutLeft and WeightMismatch.

    `sample`, `load`, `sleep` and `close` belong to one thread, the run's; an exception that a signal raises in them leaves the fleet
    usable. `join`, `leave`, `members`, `fail` and `tell` may be called from any thread, also meanwhile.
    """

    def __init__(
        self,
        *,
        prompts_per_task: int,
        limits: FleetLimits | None = None,
        weight_version: int | None = 0,
        on_event: Callable[[str, str], None] | None = None,
    ) -> None:
        if prompts_per_task < 1:
            raise RolloutError(f"a task must have at least one prompt, got {prompts_per_task}")
        self._prompts_per_task = prompts_per_task
        self._numbers = itertools.count(1)
        self._dispatcher = Dispatcher(limits or FleetLimits(), version=weight_version, on_event=on_event or _untold)
        self._thread = threading.Thread(target=self._dispatcher.run, name="rollout fleet", daemon=True)
        self._thread.start()

    @property
    def weight_version(self) -> int:
        """Raises RolloutError when no weights were loaded and engines come without."""
        version = self._dispatcher.version
        if version is None:
            raise RolloutError(NO_WEIGHTS)
        return version

    def join(self, name: str, session: EngineSession) -> None:
        """Takes an engine in, without waiting for it; it gets its first task when it holds the current weights. It belongs to the fleet
        from now on, which closes it when it leaves and kills it when it is lost. A member of the same name is replaced. Raises
        RolloutError when the fleet is closed; the engine is then the caller's still."""
        reply: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._send(Join(name, session, reply))
        self._wait(reply)

    def leave(self, name: str, *, reason: str) -> None:
        """Lets an engine go: its tasks go back to the queue at once, and it is closed when it answers next. Unknown names are none of
        the fleet's business."""
        self._send(Leave(name, reason))

    def members(self) -> list[MemberState]:
        """All engines that are here or on their way, and those lost lately."""
        now = time.monotonic()
        return [state_of(member, now=now) for member in list(self._dispatcher.members.values())]

    @property
    def requeued_tasks(self) -> int:
        """Tasks that went back to the queue so far, because the engine that had them was lost or left."""
        return self._dispatcher.requeued

    @property
    def fault(self) -> Exception | None:
        """What `sample` would raise at once, if anything."""
        return self._dispatcher.fault

    def fail(self, error: Exception) -> None:
        """Ends the call in progress and every later one with `error`: whoever brings the engines knows that none can ever come."""
        self._send(Fail(error))

    def tell(self, reason: str, message: str) -> None:
        """Passes an event on to `on_event`, from the fleet's own thread."""
        self._send(Tell(reason, message))

    def sample(self, prompts: Sequence[Prompt], *, responses_per_prompt: int, setting: SamplingSetting) -> list[tuple[Response, ...]]:
        """See `RolloutEngine.sample`. Raises RolloutError when a request is refused or a task has failed on three engines,
        EnginesLostError when none is left and none joins in time, WeightLoadError when a newcomer could not be given the weights."""
        if not prompts:
            return []
        number = next(self._numbers)
        size = self._prompts_per_task
        tasks = cut_into_tasks(prompts, responses_per_prompt=responses_per_prompt, setting=setting, prompts_per_task=size, call=number)
        reply: queue.SimpleQueue[Groups | Exception] = queue.SimpleQueue()
        self._send(start_call(tasks, number=number, reply=reply))
        try:
            answer = self._wait(reply)
        finally:
            # Means nothing to a call that is over, and ends one whose caller was interrupted.
            self._dispatcher.inbox.put(StopCall(number))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        """Gives all members the weights at once and waits for every one, or its deadline; those that fail are lost. With no member
        there, the next to join gets them. `weights` that are `Publishable` or a `WeightSnapshot` are handed over; others are copied.

        Raises WeightLoadError when a member refuses them, or does not say what they say, and again when it is given them a second
        time; the fleet then goes back to the weights from before. Raises WeightsGoneError, as all calls after it, when whoever published
        them has died.
        """
        reply: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self._send(NewWeights(snapshot_of(weights, version=version), reply))
        error = self._wait(reply)
        if error is not None:
            raise error

    def sleep(self) -> None:
        """Has every engine give back its memory, and returns when all have. The next `load` or `sample` wakes them and gives them
        weights again. Raises RolloutError when no weights were ever loaded."""
        reply: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self._send(AllSleep(reply))
        error = self._wait(reply)
        if error is not None:
            raise error

    def close(self) -> None:
        """Closes every engine, and kills those that take longer than a minute. The fleet cannot be used afterwards."""
        if not self._thread.is_alive():
            return
        reply: queue.SimpleQueue[list[Member]] = queue.SimpleQueue()
        self._dispatcher.inbox.put(Close(reply))
        members = self._wait(reply)
        until = time.monotonic() + _CLOSE_SECONDS
        for member in members:
            if member.thread is not None:
                member.thread.join(timeout=max(0.0, until - time.monotonic()))
                if member.thread.is_alive():
                    member.session.kill()

    def _send(self, message: Message) -> None:
        self._check()
        self._dispatcher.inbox.put(message)

    def _check(self) -> None:
        if not self._thread.is_alive():
            raise RolloutError(f"the rollout fleet is closed: {self._dispatcher.fault or 'close() was called'}")

    def _wait(self, reply: queue.SimpleQueue[_Answer]) -> _Answer:
        """The dispatcher answers in bounded time as long as it lives. Queues of C are waited for, and no lock is held: a signal's
        exception may come at any point."""
        while True:
            try:
                return reply.get(timeout=_ALIVE_SECONDS)
            except queue.Empty:
                if not self._thread.is_alive() and reply.empty():
                    self._check()


def _untold(_reason: str, _message: str) -> None:
    """Events are in the log in any case."""
