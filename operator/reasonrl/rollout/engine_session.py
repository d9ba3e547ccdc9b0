"""How a fleet talks to one engine, wherever it runs.

In this process the session is the engine's worker itself; across pods it is a thin client of an actor that holds the worker. Either
way every call comes back within a known time or raises, and one word stands for an engine that is gone, frozen or broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from reasonrl.rollout.task import RolloutTask, TaskOutcome


class EngineLostError(Exception):
    """The engine is gone, does not answer, or is broken. It is not asked again; the message says what was seen."""


class WeightsGoneError(Exception):
    """The published weights are not there any more, since whoever published them has died: no engine can ever take them."""


class EnginesLostError(Exception):
    """No engine is left, and none came in time. Trying again later may help: nothing is wrong with what was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """An engine's answer to `collect`, which is its heartbeat too.

    `outcomes` are told once. `unfinished` counts the tasks still in hand, `unwritten` their responses that are not complete, `steps` the
    engine's steps so far: an engine that has tasks in hand and does not step is hung, though its process answers.
    """

    outcomes: list[TaskOutcome]
    unfinished: int
    unwritten: int
    steps: int
    weight_version: int


class EngineSession(Protocol):
    """Used by one thread at a time, `kill` apart. Every method raises EngineLostError when the engine is lost."""

    @property
    def capacity(self) -> int:
        """See `SteppingEngine.capacity`."""
        ...

    def submit(self, tasks: Sequence[RolloutTask]) -> None:
        """Hands tasks over. A task that is refused comes back as an outcome."""
        ...

    def collect(self, wait_seconds: float) -> Collected:
        """Returns at once when a task is complete or the engine has room again, and otherwise after `wait_seconds`."""
        ...

    def abandon(self) -> None:
        """Drops all tasks in hand, and outcomes that were not collected. Does not wait for work that cannot be interrupted."""
        ...

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int, seconds: float) -> None:
        """Takes a full set of weights, after all tasks were finished or abandoned. Raises WeightLoadError when the engine refuses
        them or does not say what they say, WeightsGoneError when they cannot be had from whoever published them, EngineLostError when
        that takes longer than `seconds`."""
        ...

    def sleep(self, *, seconds: float) -> None:
        """See `SteppingEngine.sleep`."""
        ...

    def wake(self, *, seconds: float) -> None:
        """See `SteppingEngine.wake`."""
        ...

    def close(self) -> None:
        """Ends the engine in good order, in bounded time. An engine that is lost already is no error."""
        ...

    def kill(self) -> None:
        """Ends the engine's process (in this process: gives the engine up) without waiting for it. Raises nothing."""
        ...
