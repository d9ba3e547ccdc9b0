"""Several rollout engines behind the protocol of one.

Prompts are cut into tasks of a fixed size, all engines pull from one queue, and so a slow task never holds the rest. What a task draws
depends on its place in the call and not on the engine that runs it. An engine that fails or stays silent is retired and its task goes
back to the queue; every wait is bounded.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch

from reasonrl.rl.records import Prompt, Response
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import RolloutEngine, SamplingSetting, WeightLoadError

logger = logging.getLogger(__name__)

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class _Task:
    """Some prompts of one call, `number` counting its tasks; `attempt` counts the engines that failed at it."""

    number: int
    prompts: Sequence[Prompt]
    responses_per_prompt: int
    setting: SamplingSetting
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class _Outcome:
    member: _Member
    task: _Task
    groups: list[tuple[Response, ...]] | None
    error: Exception | None


@dataclass(eq=False, slots=True)
class _Member:
    """An engine and the thread that runs it. `fault` says why it was retired."""

    name: str
    engine: RolloutEngine
    inbox: queue.SimpleQueue[_Task | None] = field(default_factory=queue.SimpleQueue)
    task: _Task | None = None
    due: float = 0.0
    fault: str | None = None


class RolloutPool:
    """Spreads calls over `engines`, which must hold the same weights at first.

    A task is `prompts_per_task` prompts with all their responses. An engine that takes longer than `task_seconds` over one counts as
    dead. Engines are used from threads of the pool, one each, and never by two at once.
    """

    def __init__(self, engines: Sequence[RolloutEngine], *, prompts_per_task: int, task_seconds: float) -> None:
        if not engines:
            raise RolloutError("spec.rollout.replicas: a pool needs at least one engine")
        if prompts_per_task < 1:
            raise RolloutError(f"a task must have at least one prompt, got {prompts_per_task}")
        versions = {engine.weight_version for engine in engines}
        if len(versions) > 1:
            raise RolloutError(f"the engines of a pool must start with the same weights, their versions are {sorted(versions)}")
        self._version = versions.pop()
        self._prompts_per_task = prompts_per_task
        self._task_seconds = task_seconds
        self._outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self._members = [_Member(name=f"engine {index}", engine=engine) for index, engine in enumerate(engines)]
        for member in self._members:
            threading.Thread(target=self._serve, args=(member,), name=member.name, daemon=True).start()

    @property
    def weight_version(self) -> int:
        return self._version

    @property
    def live_engines(self) -> int:
        return len(self._live())

    def sample(self, prompts: Sequence[Prompt], *, responses_per_prompt: int, setting: SamplingSetting) -> list[tuple[Response, ...]]:
        """See `RolloutEngine.sample`. Raises RolloutError when a request is refused, when a task has failed on three engines, or when
        no engine is left."""
        size = self._prompts_per_task
        waiting = [
            _Task(
                number=number,
                prompts=prompts[start : start + size],
                responses_per_prompt=responses_per_prompt,
                setting=replace(setting, seed=_task_seed(setting.seed, number)),
            )
            for number, start in enumerate(range(0, len(prompts), size))
        ]
        done: dict[int, list[tuple[Response, ...]]] = {}
        tasks = len(waiting)
        waiting.reverse()
        try:
            while len(done) < tasks:
                self._assign(waiting)
                outcome = self._next_outcome()
                if outcome is None:
                    waiting.extend(self._retire_silent())
                elif outcome.groups is not None:
                    done[outcome.task.number] = outcome.groups
                else:
                    waiting.append(self._failed(outcome))
        finally:
            self._forget_running()
        return [group for number in range(tasks) for group in done[number]]

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        """See `RolloutEngine.load`. If the first engine refuses the weights, none has taken them; an engine that fails after
        another has taken them is retired."""
        offered = list(weights)
        taken = False
        for member in self._live():
            try:
                member.engine.load(offered, version=version)
                taken = True
            except WeightLoadError as error:
                if not taken:
                    raise
                self._retire(member, f"it did not take the weights of version {version}: {error}")
        if not taken:
            raise RolloutError(f"no engine is left to take the weights of version {version}: {self._faults()}")
        self._version = version

    def close(self) -> None:
        """Ends the threads and closes every engine that still answers."""
        for member in self._live():
            member.inbox.put(None)
            member.engine.close()

    def _live(self) -> list[_Member]:
        return [member for member in self._members if member.fault is None]

    def _faults(self) -> str:
        return "; ".join(f"{member.name}: {member.fault}" for member in self._members if member.fault is not None)

    def _serve(self, member: _Member) -> None:
        while (task := member.inbox.get()) is not None:
            try:
                groups = member.engine.sample(task.prompts, responses_per_prompt=task.responses_per_prompt, setting=task.setting)
                self._outcomes.put(_Outcome(member, task, groups, None))
            except Exception as error:  # noqa: BLE001 - whatever an engine dies of, the pool decides what follows
                self._outcomes.put(_Outcome(member, task, None, error))

    def _assign(self, waiting: list[_Task]) -> None:
        live = self._live()
        if not live:
            raise RolloutError(f"no rollout engine is left: {self._faults()}")
        for member in live:
            if member.task is None and waiting:
                member.task = waiting.pop()
                member.due = time.monotonic() + self._task_seconds
                member.inbox.put(member.task)

    def _next_outcome(self) -> _Outcome | None:
        """The next result of a task that is still wanted, or None when an engine is overdue."""
        while True:
            due = min(member.due for member in self._live() if member.task is not None)
            try:
                outcome = self._outcomes.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                return None
            if outcome.member.task is outcome.task and outcome.member.fault is None:
                outcome.member.task = None
                return outcome

    def _retire_silent(self) -> list[_Task]:
        """Retires the overdue engines and returns their tasks."""
        now = time.monotonic()
        silent = [member for member in self._live() if member.task is not None and member.due <= now]
        tasks = []
        for member in silent:
            self._retire(member, f"it did not finish a task within {self._task_seconds:.0f} s")
            if member.task is not None:
                tasks.append(self._again(member.task, f"no answer within {self._task_seconds:.0f} s"))
        return tasks

    def _failed(self, outcome: _Outcome) -> _Task:
        assert outcome.error is not None
        if isinstance(outcome.error, RolloutError):
            raise outcome.error
        self._retire(outcome.member, f"{type(outcome.error).__name__}: {outcome.error}")
        return self._again(outcome.task, str(outcome.error))

    def _again(self, task: _Task, reason: str) -> _Task:
        if task.attempt + 1 >= _ATTEMPTS:
            raise RolloutError(f"a rollout task failed on {_ATTEMPTS} engines; the last said: {reason}")
        return replace(task, attempt=task.attempt + 1)

    def _retire(self, member: _Member, fault: str) -> None:
        logger.warning("%s is retired: %s", member.name, fault)
        member.fault = fault
        member.inbox.put(None)

    def _forget_running(self) -> None:
        """After a call that failed, waits (within their deadlines) for the engines still at work on it, so that the next call finds
        them free; their results are dropped."""
        while any(member.task is not None for member in self._live()):
            if self._next_outcome() is None:
                for member in self._live():
                    if member.task is not None and member.due <= time.monotonic():
                        self._retire(member, f"it did not finish a task within {self._task_seconds:.0f} s")


def _task_seed(seed: int, number: int) -> int:
    digest = hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")
