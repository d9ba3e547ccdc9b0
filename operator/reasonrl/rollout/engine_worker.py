"""The thread that runs one engine: it steps while tasks are in hand, and others hand tasks in and collect outcomes meanwhile.

An engine must be used by one thread alone, yet somebody must be able to ask "are you alive, do you move?" while it computes. The
worker answers that at any moment, with a counter of steps that shows whether the engine really moves.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence

import torch

from reasonrl.rollout.engine_session import Collected, EngineLostError
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import WeightLoadError
from reasonrl.rollout.stepping import SteppingEngine
from reasonrl.rollout.task import RolloutTask, TaskOutcome, refused

logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 30.0

_Work = Callable[[SteppingEngine], None]
_Key = tuple[int, int]


class EngineWorker:
    """An `EngineSession` in this process. `make_engine` is called in the worker's thread, which alone uses the engine.

    The constructor returns when the engine is there, and raises what `make_engine` raises, or EngineLostError after `start_seconds`.
    """

    def __init__(self, make_engine: Callable[[], SteppingEngine], *, name: str = "rollout engine", start_seconds: float = 1800.0) -> None:
        self._inbox: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        # Guarded by `_changed`: what was handed in and not yet told, what is to be told, and how it stands.
        self._hand: dict[_Key, RolloutTask] = {}
        self._outcomes: list[TaskOutcome] = []
        self._unwritten = 0
        self._told_unwritten = 0
        self._steps = 0
        self._version = 0
        self._fault: str | None = None
        # Of the worker's thread: what the engine has in hand.
        self._submitted: dict[_Key, RolloutTask] = {}
        ready: queue.SimpleQueue[SteppingEngine | Exception] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, args=(make_engine, ready), name=name, daemon=True)
        self._thread.start()
        try:
            engine = ready.get(timeout=start_seconds)
        except queue.Empty:
            self.kill()
            raise EngineLostError(f"the engine was not ready within {start_seconds:.0f} s") from None
        if isinstance(engine, Exception):
            raise engine
        self._capacity = engine.capacity

    @property
    def capacity(self) -> int:
        return self._capacity

    @property
    def weight_version(self) -> int:
        """That of the last load that succeeded."""
        return self._version

    def submit(self, tasks: Sequence[RolloutTask]) -> None:
        with self._changed:
            self._check()
            self._hand.update({_key(task): task for task in tasks})
            self._unwritten += sum(task.responses for task in tasks)
        self._inbox.put(lambda engine: self._take_in_hand(engine, tasks))

    def collect(self, wait_seconds: float) -> Collected:
        with self._changed:
            self._told_unwritten = max(self._told_unwritten, self._unwritten)
            self._changed.wait_for(lambda: self._outcomes or self._has_room_again() or self._fault is not None, timeout=wait_seconds)
            if not self._outcomes:
                self._check()
            told, self._outcomes = self._outcomes, []
            self._told_unwritten = self._unwritten
            return Collected(
                outcomes=told,
                unfinished=len(self._hand),
                unwritten=self._unwritten,
                steps=self._steps,
                weight_version=self._version,
            )

    def abandon(self) -> None:
        with self._changed:
            self._check()
            self._hand.clear()
            self._outcomes.clear()
            self._unwritten = 0
        self._inbox.put(self._drop)

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int, seconds: float) -> None:
        def work(engine: SteppingEngine) -> None:
            engine.load(weights, version=version)
            self._version = engine.weight_version

        self._ask(work, f"take the weights of version {version}", seconds=seconds)

    def sleep(self, *, seconds: float) -> None:
        self._ask(lambda engine: engine.sleep(), "sleep", seconds=seconds)

    def wake(self, *, seconds: float) -> None:
        self._ask(lambda engine: engine.wake(), "wake", seconds=seconds)

    def close(self) -> None:
        """Drops the tasks in hand and closes the engine after the step it is in; gives it up when that takes longer than half a
        minute."""
        if self._fault is not None:
            return
        try:
            self.abandon()
            self._ask(lambda engine: engine.close(), "close", seconds=_CLOSE_SECONDS)
        except EngineLostError as error:
            logger.warning("%s: %s", self._thread.name, error)
        self.kill()

    def kill(self) -> None:
        """A thread cannot be ended from outside: the engine is given up, and its thread ends when it comes out of its step."""
        self._break("it was closed")
        self._inbox.put(None)

    def _has_room_again(self) -> bool:
        """Since it was last told. That there still is room is no news: whoever was told had nothing to fill it with."""
        return self._unwritten < self._capacity <= self._told_unwritten

    def _check(self) -> None:
        if self._fault is not None:
            raise EngineLostError(self._fault)

    def _ask(self, work: _Work, what: str, *, seconds: float) -> None:
        """Has `work` done by the worker's thread, after all that was asked before."""
        with self._changed:
            self._check()
            if self._hand:
                raise RolloutError(f"an engine cannot {what} with {len(self._hand)} tasks in hand; collect or abandon them first")
        reply: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

        def answered(engine: SteppingEngine) -> None:
            try:
                work(engine)
            except WeightLoadError as error:
                reply.put(error)
            except Exception as error:
                reply.put(EngineLostError(_described(error)))
                raise
            else:
                reply.put(None)

        self._inbox.put(answered)
        try:
            error = reply.get(timeout=seconds)
        except queue.Empty:
            raise EngineLostError(f"it did not {what} within {seconds:.0f} s") from None
        if error is not None:
            raise error

    def _serve(self, make_engine: Callable[[], SteppingEngine], ready: queue.SimpleQueue[SteppingEngine | Exception]) -> None:
        try:
            engine = make_engine()
            self._version = engine.weight_version
        except Exception as error:  # noqa: BLE001 - told to whoever waits for the engine
            ready.put(error)
            return
        ready.put(engine)
        try:
            self._work(engine)
        except Exception as error:
            logger.exception("%s broke", self._thread.name)
            self._break(_described(error))

    def _work(self, engine: SteppingEngine) -> None:
        while True:
            while not self._inbox.empty() or not engine.unfinished():
                work = self._inbox.get()
                if work is None:
                    return
                work(engine)
                # It may hold weights: shared memory, which others wait to have back.
                del work
            self._step(engine)

    def _step(self, engine: SteppingEngine) -> None:
        try:
            outcomes = engine.step()
        except RolloutError as error:
            outcomes = [refused(task, str(error)) for task in self._submitted.values()]
            engine.abandon()
        strange = [_key(outcome) for outcome in outcomes if self._submitted.pop(_key(outcome), None) is None]
        if strange:
            raise RuntimeError(f"the engine answered tasks that it was not given: (call, number) {strange[:5]}")
        if self._submitted and not engine.unfinished():
            raise RuntimeError(f"the engine lost {len(self._submitted)} tasks")
        with self._changed:
            self._steps += 1
            self._outcomes.extend(outcome for outcome in outcomes if self._hand.pop(_key(outcome), None) is not None)
            self._count_unwritten(engine)
            if self._outcomes or self._has_room_again():
                self._changed.notify_all()

    def _take_in_hand(self, engine: SteppingEngine, tasks: Sequence[RolloutTask]) -> None:
        for task in tasks:
            try:
                engine.submit(task)
                self._submitted[_key(task)] = task
            except RolloutError as error:
                with self._changed:
                    if self._hand.pop(_key(task), None) is not None:
                        self._count_unwritten(engine)
                        self._outcomes.append(refused(task, str(error)))
                        self._changed.notify_all()

    def _count_unwritten(self, engine: SteppingEngine) -> None:
        waiting = sum(task.responses for key, task in self._hand.items() if key not in self._submitted)
        self._unwritten = waiting + (engine.unwritten() if self._hand else 0)

    def _drop(self, engine: SteppingEngine) -> None:
        self._submitted.clear()
        engine.abandon()

    def _break(self, fault: str) -> None:
        with self._changed:
            self._fault = self._fault or fault
            self._changed.notify_all()


def _key(task: RolloutTask | TaskOutcome) -> _Key:
    return task.call, task.number


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
