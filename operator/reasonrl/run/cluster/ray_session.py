"""The fleet's end of an engine actor: every call has a deadline, and whatever Ray says of a dead or silent process is one error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, ObjectLostError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reasonrl.rollout.engine_session import Collected, EngineLostError, WeightsGoneError
from reasonrl.rollout.stepping import SteppingEngine
from reasonrl.rollout.task import RolloutTask
from reasonrl.run.cluster.engine_actor import SIDE_BY_SIDE, EngineActor, EngineDescription
from reasonrl.run.cluster.published_weights import PublishedWeights, publish
from reasonrl.run.cluster.shipped_outcomes import unship

logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 40.0


class RaySession:
    """An `EngineSession` of an actor that is still starting: call `wait_until_ready` first. `answer_seconds` is how long the actor may be
    silent."""

    def __init__(self, actor: Any, start: Any, *, answer_seconds: float) -> None:
        self._actor = actor
        self._start = start
        self._answer_seconds = answer_seconds
        self._described: EngineDescription | None = None

    def wait_until_ready(self, seconds: float) -> EngineDescription:
        """Raises EngineLostError when the engine is not there in time or its process died, and else what the making of the engine
        raised. The actor is killed in any of these cases."""
        try:
            self._described = self._get(self._start, "start", seconds=seconds)
        except BaseException:
            self.kill()
            raise
        return self._described

    @property
    def capacity(self) -> int:
        if self._described is None:
            raise EngineLostError("the engine was asked for before it was ready")
        return self._described.capacity

    def submit(self, tasks: Sequence[RolloutTask]) -> None:
        self._get(self._actor.submit.remote(list(tasks)), "take tasks", seconds=self._answer_seconds)

    def collect(self, wait_seconds: float) -> Collected:
        answer = self._get(self._actor.collect.remote(wait_seconds), "answer", seconds=wait_seconds + self._answer_seconds)
        return unship(answer)

    def abandon(self) -> None:
        self._get(self._actor.abandon.remote(), "abandon its tasks", seconds=self._answer_seconds)

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int, seconds: float) -> None:
        """`weights` that are not published yet are published for this engine alone."""
        known = weights if isinstance(weights, PublishedWeights) else publish(weights, version=version, dtype=None)
        what = f"take the weights of version {version}"
        try:
            self._get(self._actor.load.remote(known.manifest, known.reference, seconds), what, seconds=seconds)
        except (EngineLostError, ObjectLostError) as error:
            # Ray says the second, bare or as the cause of the first, where the argument is what cannot be had.
            lost = error if isinstance(error, ObjectLostError) else error.__cause__
            if isinstance(lost, ObjectLostError):
                raise WeightsGoneError(f"nobody could {what}: the rank that published them has died ({type(lost).__name__})") from error
            raise

    def sleep(self, *, seconds: float) -> None:
        self._get(self._actor.sleep.remote(seconds), "sleep", seconds=seconds)

    def wake(self, *, seconds: float) -> None:
        self._get(self._actor.wake.remote(seconds), "wake", seconds=seconds)

    def close(self) -> None:
        try:
            self._get(self._actor.close.remote(), "close", seconds=_CLOSE_SECONDS)
        except EngineLostError as error:
            logger.info("an engine was gone before it was closed: %s", error)
        self.kill()

    def kill(self) -> None:
        try:
            ray.kill(self._actor)
        except (RayError, ValueError) as error:
            # Ray is no longer there, and with it none of its actors.
            logger.info("an engine could not be killed: %s", error)

    def _get(self, reference: Any, what: str, *, seconds: float) -> Any:
        try:
            return ray.get(reference, timeout=seconds)
        except GetTimeoutError:
            raise EngineLostError(f"it did not {what} within {seconds:.0f} s") from None
        except RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from None
            raise EngineLostError(_first_line(error)) from error
        except RayError as error:
            raise EngineLostError(f"{type(error).__name__}: {_first_line(error)}") from error


def launch_engine(
    make_engine: Callable[[], SteppingEngine], *, node_id: str, answer_seconds: float, cpus: float = 0.0, gpus: float = 0.0
) -> RaySession:
    """An actor on that very node, which makes its engine by calling `make_engine` (picklable) there. Returns at once."""
    options: dict[str, Any] = {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False),
        "max_concurrency": SIDE_BY_SIDE,
        # A restarted actor would come back without its engine: whoever launches engines decides what follows a loss.
        "max_restarts": 0,
        "max_task_retries": 0,
    }
    actor: Any = ray.remote(**options)(EngineActor).remote()
    return RaySession(actor, actor.start.remote(make_engine), answer_seconds=answer_seconds)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
