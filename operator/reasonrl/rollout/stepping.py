"""An engine that works in steps: tasks go in at any time and come out as they are complete.

A call that blocks until its last response is written leaves an engine half empty while a straggler finishes. Stepping engines take
the next task as soon as there is room, so a fleet can keep them full. An engine that can only block is adapted here: it does one task
a step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

import torch

from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import CanSleep, RolloutEngine
from reasonrl.rollout.task import RolloutTask, TaskOutcome, completed, refused


class SteppingEngine(Protocol):
    """Used by one thread. Whatever `step` raises, RolloutError apart, means that the engine is broken."""

    @property
    def weight_version(self) -> int: ...

    @property
    def capacity(self) -> int:
        """Responses that it decodes at once. A fleet keeps about this many unwritten ones, and one task more, in its hands."""
        ...

    def submit(self, task: RolloutTask) -> None:
        """Takes a task in hand without working on it. Raises RolloutError for a request that is wrong."""
        ...

    def step(self) -> list[TaskOutcome]:
        """Does some work and returns the tasks that are complete now ([] is normal). Raises RolloutError when what is in hand can be
        done by no engine (log-probs that are not finite)."""
        ...

    def unfinished(self) -> int:
        """Tasks in hand."""
        ...

    def unwritten(self) -> int:
        """Responses of the tasks in hand that are not complete: a task whose last response is long leaves room for others."""
        ...

    def abandon(self) -> None:
        """Drops all tasks in hand. The engine is usable afterwards."""
        ...

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        """See `RolloutEngine.load`. Only with no task in hand. The tensors may be views of read-only memory that is given back
        afterwards: an engine copies what it keeps."""
        ...

    def sleep(self) -> None:
        """Gives back the cache (and the weights on a GPU). Only with no task in hand."""
        ...

    def wake(self) -> None:
        """Takes them again. `load` follows before the next task."""
        ...

    def close(self) -> None: ...


class BlockingEngineSteps:
    """A `RolloutEngine` as a `SteppingEngine`: each step does one whole task, first come first served.

    Its `capacity` is one response, which makes one task at work and one waiting.
    """

    def __init__(self, engine: RolloutEngine) -> None:
        self._engine = engine
        self._waiting: deque[RolloutTask] = deque()

    @property
    def weight_version(self) -> int:
        return self._engine.weight_version

    @property
    def capacity(self) -> int:
        return 1

    def submit(self, task: RolloutTask) -> None:
        self._waiting.append(task)

    def step(self) -> list[TaskOutcome]:
        if not self._waiting:
            return []
        task = self._waiting.popleft()
        try:
            groups = self._engine.sample(task.prompts, responses_per_prompt=task.responses_per_prompt, setting=task.setting)
        except RolloutError as error:
            return [refused(task, str(error))]
        return [completed(task, groups)]

    def unfinished(self) -> int:
        return len(self._waiting)

    def unwritten(self) -> int:
        return sum(task.responses for task in self._waiting)

    def abandon(self) -> None:
        self._waiting.clear()

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        self._engine.load(weights, version=version)

    def sleep(self) -> None:
        """The memory of an engine that cannot sleep stays taken."""
        if isinstance(self._engine, CanSleep):
            self._engine.sleep()

    def wake(self) -> None:
        if isinstance(self._engine, CanSleep):
            self._engine.wake()

    def close(self) -> None:
        self._waiting.clear()
        self._engine.close()
