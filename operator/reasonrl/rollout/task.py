"""The unit of work that a rollout engine is handed: a few prompts of one call, and what became of them.

A call is cut into tasks by the job alone, and each task carries a seed of its own. So what a task draws depends neither on the engine
that runs it nor on how many there are, and a task whose engine died is simply done again elsewhere with the same result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reasonrl.rl.records import Prompt, Response
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import SamplingSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutTask:
    """Prompts `number · prompts_per_task` onwards of call `call`. `setting.seed` is the task's own. `attempt` counts the engines that
    failed while they held it."""

    number: int
    prompts: tuple[Prompt, ...]
    responses_per_prompt: int
    setting: SamplingSetting
    call: int
    attempt: int = 0

    @property
    def responses(self) -> int:
        """How many responses it asks for."""
        return len(self.prompts) * self.responses_per_prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOutcome:
    """How a task ended.

    Either `groups` holds one tuple of `responses_per_prompt` responses for each prompt, in order, or `error` says why not. `refused`:
    the request itself is wrong (or the weights are), and another engine would say the same; the call ends. An error that is not a
    refusal is the engine's own: it is not used again, and the task goes to another.
    """

    call: int
    number: int
    groups: list[tuple[Response, ...]] | None
    error: str | None
    refused: bool


def completed(task: RolloutTask, groups: list[tuple[Response, ...]]) -> TaskOutcome:
    return TaskOutcome(call=task.call, number=task.number, groups=groups, error=None, refused=False)


def refused(task: RolloutTask, error: str) -> TaskOutcome:
    return TaskOutcome(call=task.call, number=task.number, groups=None, error=error, refused=True)


def failed(task: RolloutTask, error: str) -> TaskOutcome:
    return TaskOutcome(call=task.call, number=task.number, groups=None, error=error, refused=False)


def cut_into_tasks(
    prompts: Sequence[Prompt], *, responses_per_prompt: int, setting: SamplingSetting, prompts_per_task: int, call: int
) -> list[RolloutTask]:
    """Tasks of `prompts_per_task` prompts (the last may have fewer), numbered from 0. Raises RolloutError when that is below 1."""
    if prompts_per_task < 1:
        raise RolloutError(f"a task must have at least one prompt, got {prompts_per_task}")
    return [
        RolloutTask(
            number=number,
            prompts=tuple(prompts[start : start + prompts_per_task]),
            responses_per_prompt=responses_per_prompt,
            setting=replace(setting, seed=_task_seed(setting.seed, number)),
            call=call,
        )
        for number, start in enumerate(range(0, len(prompts), prompts_per_task))
    ]


def _task_seed(seed: int, number: int) -> int:
    digest = hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")
