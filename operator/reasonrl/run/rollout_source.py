"""Where a step's groups come from, and where its weights go.

The loop asks for the groups of a step and hands over new weights. Whether the groups are sampled at that moment, or were sampled ahead
while the last update ran, is decided here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from reasonrl.api.setting import StepSetting
from reasonrl.rl.records import Group, Prompt
from reasonrl.rollout.protocol import RolloutEngine, SamplingSetting
from reasonrl.run.progress import Progress
from reasonrl.run.seeds import derive_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledStep:
    """The groups of one step, and the data cursor after them."""

    groups: Sequence[Group]
    cursor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingJob:
    """What a step's groups are a function of, besides the weights. `take_prompts(cursor, count)` returns the next prompts and the cursor
    after them."""

    take_prompts: Callable[[int, int], tuple[list[Prompt], int]]
    responses_per_prompt: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refill:
    """`prompts` more questions for `step`, from `cursor` on. `number` counts the refills of a step from 1."""

    step: int
    number: int
    cursor: int
    prompts: int


class RolloutSource(Protocol):
    def take(self, progress: Progress, setting: StepSetting) -> SampledStep:
        """The groups of step `progress.step`. Raises what the engine raises."""
        ...

    def refill(self, refill: Refill, setting: StepSetting) -> SampledStep:
        """More groups of a step that was taken. Raises ValueError where later steps are sampled already."""
        ...

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        """The weights from now on; `version` counts the steps that made them."""
        ...

    def engine(self) -> AbstractContextManager[RolloutEngine]:
        """The engine with the weights last loaded, and nobody else at it meanwhile."""
        ...

    def save(self, directory: Path) -> None:
        """Writes what was sampled and not yet taken into a checkpoint."""
        ...

    def restore(self, directory: Path) -> None:
        """Takes it again from a checkpoint, before the first `take`."""
        ...

    def close(self) -> None: ...


class SamplingOnTime:
    """Samples each step's groups when they are asked for, with the weights of that step: on-policy."""

    def __init__(self, engine: RolloutEngine, job: SamplingJob) -> None:
        self._engine = engine
        self._job = job

    def take(self, progress: Progress, setting: StepSetting) -> SampledStep:
        return sample_step(self._engine, self._job, step=progress.step, cursor=progress.cursor, setting=setting)

    def refill(self, refill: Refill, setting: StepSetting) -> SampledStep:
        return sample_refill(self._engine, self._job, refill, setting=setting)

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        self._engine.load(weights, version=version)

    @contextmanager
    def engine(self) -> Iterator[RolloutEngine]:
        yield self._engine

    def save(self, directory: Path) -> None:
        """Between two steps nothing is in flight."""

    def restore(self, directory: Path) -> None:
        """What a run that samples ahead left there is sampled again, with current weights."""

    def close(self) -> None:
        """The engine belongs to whoever made it."""


def sample_step(engine: RolloutEngine, job: SamplingJob, *, step: int, cursor: int, setting: StepSetting) -> SampledStep:
    seed = derive_seed(job.seed, "rollout", step)
    return _sampled(engine, job, cursor=cursor, prompts=setting.prompts_per_step, setting=setting, seed=seed, name=str(step))


def sample_refill(engine: RolloutEngine, job: SamplingJob, refill: Refill, *, setting: StepSetting) -> SampledStep:
    seed = derive_seed(job.seed, f"rollout/refill-{refill.number}", refill.step)
    name = f"{refill.step}-refill-{refill.number}"
    return _sampled(engine, job, cursor=refill.cursor, prompts=refill.prompts, setting=setting, seed=seed, name=name)


def _sampled(
    engine: RolloutEngine, job: SamplingJob, *, cursor: int, prompts: int, setting: StepSetting, seed: int, name: str
) -> SampledStep:
    asked, following = job.take_prompts(cursor, prompts)
    sampling = SamplingSetting(max_response_tokens=setting.max_response_tokens, temperature=setting.temperature, seed=seed)
    sampled = engine.sample(asked, responses_per_prompt=job.responses_per_prompt, setting=sampling)
    groups = [
        Group(id=f"{name}-{index}", prompt=prompt, responses=responses)
        for index, (prompt, responses) in enumerate(zip(asked, sampled, strict=True))
    ]
    return SampledStep(groups=groups, cursor=following)
