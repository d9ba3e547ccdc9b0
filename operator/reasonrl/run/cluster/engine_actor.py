"""A rollout engine in a process of its own: a Ray actor around an engine's worker.

Its methods run side by side, so that the answer to "what is done, do you move?" never waits for the engine, nor for weights that are on
their way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reasonrl.rl.packed_weights import Buffer, PackedWeightsError
from reasonrl.rl.weight_arrays import ArrayManifest, from_arrays
from reasonrl.rollout.engine_worker import EngineWorker
from reasonrl.rollout.protocol import WeightLoadError
from reasonrl.rollout.stepping import SteppingEngine
from reasonrl.rollout.task import RolloutTask
from reasonrl.run.cluster.shipped_outcomes import ShippedCollected, ship

SIDE_BY_SIDE = 8
"""A collect that waits, a load, a submit or abandon, pings, and room for calls whose caller gave up waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDescription:
    """What an engine says of itself when it is ready. `process` is its process id on its node."""

    capacity: int
    process: int


class EngineActor:
    """See `EngineSession`; `run.cluster.ray_session` is the other end, and makes it a Ray actor."""

    def __init__(self) -> None:
        self._started: EngineWorker | None = None

    def start(self, make_engine: Callable[[], SteppingEngine]) -> EngineDescription:
        """Makes the engine. Raises what `make_engine` raises."""
        self._started = EngineWorker(make_engine)
        return EngineDescription(capacity=self._started.capacity, process=os.getpid())

    def ping(self) -> int:
        """The process id."""
        return os.getpid()

    def submit(self, tasks: Sequence[RolloutTask]) -> None:
        self._worker.submit(tasks)

    def collect(self, wait_seconds: float) -> ShippedCollected:
        return ship(self._worker.collect(wait_seconds))

    def abandon(self) -> None:
        self._worker.abandon()

    def load(self, manifest: ArrayManifest, arrays: Sequence[Buffer], seconds: float) -> None:
        """`arrays` lie in this node's object store. Raises WeightLoadError also when one was lost or damaged."""
        try:
            weights = from_arrays(manifest, arrays)
        except PackedWeightsError as error:
            raise WeightLoadError(str(error)) from error
        self._worker.load(weights.items(), version=manifest.version, seconds=seconds)

    def sleep(self, seconds: float) -> None:
        self._worker.sleep(seconds=seconds)

    def wake(self, seconds: float) -> None:
        self._worker.wake(seconds=seconds)

    def close(self) -> None:
        if self._started is not None:
            self._started.close()

    @property
    def _worker(self) -> EngineWorker:
        if self._started is None:
            raise RuntimeError("the engine was asked to work before it was started")
        return self._started
