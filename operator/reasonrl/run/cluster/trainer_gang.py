"""The trainer that the loop sees on a cluster: every call goes to all ranks at once, and comes back when all have done it.

A gang is whole or not there. When one rank dies or falls silent the others cannot go on without it, so the gang says so at once, and the
run ends for its pods to be started again from the last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from torch import Tensor

from reasonrl.api.failure_policy_spec import StallDeadlines
from reasonrl.run.cluster.errors import RankLostError
from reasonrl.run.cluster.nodes import RunNode
from reasonrl.run.cluster.published_weights import PublishedWeights
from reasonrl.run.cluster.rank_actor import RankActor, RankRecipe
from reasonrl.run.errors import RunInputError
from reasonrl.train.protocol import RanksLostError, TrainerError, TrainingSequence, UpdateSetting, UpdateStats
from reasonrl.train.rank_group import RankPlace

PING_SECONDS = 10.0
_LOOK_SECONDS = 1.0
SETTLE_SECONDS = 5.0
"""After one rank has reported an error: so long the others may take to report the one that caused it."""


class TrainerGang:
    """A `Trainer`. Raises RankLostError when a rank is gone or silent, or a call lasts longer than its stage's deadline; TrainerError
    for what the ranks themselves refuse.

    It waits for Ray in a thread of its own: Ray turns an exception that a signal raises inside its calls into a SystemError.
    """

    def __init__(self, ranks: Sequence[Any], *, dtype: torch.dtype, deadlines: StallDeadlines) -> None:
        self._ranks = list(ranks)
        self._dtype = dtype
        self._deadlines = deadlines
        self._waiting = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trainer gang")
        self._before_work: Callable[[], None] | None = None
        self._after_publishing: Callable[[int], None] | None = None

    def before_work(self, action: Callable[[], None]) -> None:
        """Has `action` done before the ranks compute: engines on the same GPUs give their memory back."""
        self._before_work = action

    def after_publishing(self, action: Callable[[int], None]) -> None:
        """Has `action` told the size in bytes of weights that were published."""
        self._after_publishing = action

    def first(self, method: str, *arguments: Any, seconds: float) -> Any:
        """Asks rank 0 alone."""
        return self._results(lambda: [getattr(self._ranks[0], method).remote(*arguments)], method, seconds=seconds)[0]

    def start(self, recipe: RankRecipe, places: Sequence[RankPlace]) -> None:
        def ask() -> list[Any]:
            return [rank.start.remote(recipe, place) for rank, place in zip(self._ranks, places, strict=True)]

        self._results(ask, "start", seconds=self._deadlines.loading)

    def reference_logprobs(self, sequences: Sequence[TrainingSequence], *, temperature: float) -> list[Tensor]:
        self._make_room()
        found: list[Tensor] = self._all_share("reference_logprobs", list(sequences), temperature, seconds=self._deadlines.update)[0]
        return found

    def update(self, updates: Sequence[Sequence[TrainingSequence]], *, setting: UpdateSetting) -> UpdateStats:
        self._make_room()
        stats: UpdateStats = self._all_share("update", [list(each) for each in updates], setting, seconds=self._deadlines.update)[0]
        return stats

    def weights(self) -> GangWeights:
        """Where they are, not what: they travel from rank 0 to the engines without passing through here."""
        return GangWeights(self)

    def publish(self, *, version: int) -> PublishedWeights:
        def ask() -> list[Any]:
            return [rank.publish.remote(version, self._dtype, number) for number, rank in enumerate(self._ranks)]

        published: PublishedWeights = self._results(ask, "publish", seconds=self._deadlines.weight_sync)[0]
        if self._after_publishing is not None:
            self._after_publishing(published.manifest.total)
        return published

    def reset_reference(self, *, reset_optimizer: bool) -> None:
        self._all("reset_reference", reset_optimizer, seconds=self._deadlines.update)

    def save(self, directory: Path) -> None:
        self._all("save", str(directory), seconds=self._deadlines.checkpoint)

    def load(self, directory: Path) -> None:
        self._all("load", str(directory), seconds=self._deadlines.loading)

    def stacks(self) -> str:
        """What each rank's threads are doing, where it answers."""
        parts = []
        for number, rank in enumerate(self._ranks):
            try:
                parts.append(f"rank {number}:\n{ray.get(rank.stacks.remote(), timeout=PING_SECONDS)}")
            except (RayActorError, ray.exceptions.GetTimeoutError) as error:
                parts.append(f"rank {number}: no answer ({type(error).__name__})")
        return "\n".join(parts)

    def close(self) -> None:
        self._waiting.shutdown(wait=False, cancel_futures=True)
        for rank in self._ranks:
            ray.kill(rank)

    def _make_room(self) -> None:
        if self._before_work is not None:
            self._before_work()

    def _all(self, method: str, *arguments: Any, seconds: float) -> list[Any]:
        return self._results(lambda: [getattr(rank, method).remote(*arguments) for rank in self._ranks], method, seconds=seconds)

    def _all_share(self, method: str, large: Any, *arguments: Any, seconds: float) -> list[Any]:
        """`large` goes to each node once."""

        def ask() -> list[Any]:
            shared = ray.put(large)
            return [getattr(rank, method).remote(shared, *arguments) for rank in self._ranks]

        return self._results(ask, method, seconds=seconds)

    def _results(self, ask: Callable[[], list[Any]], method: str, *, seconds: float) -> list[Any]:
        """All ranks' answers, by rank. A signal's exception leaves at once; the ranks finish what they were asked before the next call."""
        return self._waiting.submit(lambda: self._wait_for(ask(), method, seconds=seconds)).result()

    def _wait_for(self, refs: list[Any], method: str, *, seconds: float) -> list[Any]:
        due = time.monotonic() + seconds
        waiting = list(refs)
        while waiting:
            left = due - time.monotonic()
            if left <= 0:
                raise RankLostError(f"{self._names(refs, waiting)} did not finish {method} within {seconds:.0f} s")
            done, waiting = ray.wait(waiting, num_returns=1, timeout=min(left, _LOOK_SECONDS))
            for ref in done:
                self._check(ref, refs, waiting, method)
        return list(ray.get(refs))

    def _check(self, ref: Any, refs: list[Any], waiting: list[Any], method: str) -> None:
        rank = refs.index(ref)
        try:
            ray.get(ref)
        except RayActorError as error:
            raise RankLostError(f"rank {rank} died during {method}: {_first_line(error)}") from error
        except RayTaskError as error:
            # The rank that complains first is seldom the one at fault: a dead or frozen peer breaks the process group of the others.
            lost = self._lost(refs, waiting)
            if lost is not None:
                raise RankLostError(f"{lost} during {method}; rank {rank} said: {_first_line(error.cause or error)}") from error
            cause = error.cause
            if isinstance(cause, RanksLostError):
                raise RankLostError(f"rank {rank} lost its peers during {method}: {_first_line(cause)}") from error
            if isinstance(cause, TrainerError | OSError | RunInputError):
                raise cause from error
            raise TrainerError(f"rank {rank} failed in {method}: {cause!r}") from error

    def _lost(self, refs: list[Any], waiting: list[Any]) -> str | None:
        """Which rank is dead or does not answer, None where all do."""
        if waiting:
            ray.wait(waiting, num_returns=len(waiting), timeout=SETTLE_SECONDS)
        pings = {rank.ping.remote(): number for number, rank in enumerate(self._ranks)}
        answered, silent = ray.wait(list(pings), num_returns=len(pings), timeout=PING_SECONDS)
        for ref in answered:
            try:
                ray.get(ref)
            except RayActorError as error:
                return f"rank {pings[ref]} died ({_first_line(error)})"
        if silent:
            return f"rank {pings[silent[0]]} does not answer"
        return None

    @staticmethod
    def _names(refs: list[Any], waiting: list[Any]) -> str:
        return "rank " + ", ".join(str(refs.index(ref)) for ref in waiting)


@dataclass(frozen=True, slots=True)
class GangWeights:
    """The gang's weights as they are at the moment of asking."""

    gang: TrainerGang

    def publish(self, *, version: int) -> PublishedWeights:
        return self.gang.publish(version=version)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return iter(self.publish(version=0))


def start_gang(
    nodes: Sequence[RunNode],
    recipe: RankRecipe,
    *,
    ranks_per_node: int,
    gpus_per_rank: int,
    rank_timeout_seconds: float,
    dtype: torch.dtype,
    deadlines: StallDeadlines,
) -> TrainerGang:
    """One rank after the other on each node, rank 0 on the first; `rank_timeout_seconds` is how long a rank waits for another. Raises
    RankLostError when they do not all start in time."""
    ranks = [
        RankActor.options(
            num_cpus=0,
            num_gpus=gpus_per_rank,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False),
        ).remote()
        for node in nodes
        for _ in range(ranks_per_node)
    ]
    gang = TrainerGang(ranks, dtype=dtype, deadlines=deadlines)
    port = gang.first("free_port", seconds=deadlines.loading)
    places = [
        RankPlace(
            rank=number,
            world_size=len(ranks),
            # Ray shows each rank its own GPU and no other.
            local_rank=0,
            master_address=nodes[0].address,
            master_port=port,
            timeout_seconds=rank_timeout_seconds,
        )
        for number in range(len(ranks))
    ]
    gang.start(recipe, places)
    return gang


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
