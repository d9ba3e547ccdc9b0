"""Grades the responses of a step: what is safe is computed here, what is not runs in killable workers.

Answers and user functions see text that the policy wrote, and a policy finds whatever hangs or crashes a parser; so they run in the
sandbox, under a wall-clock limit. An attempt that fails is counted as what it was and leaves the response without a reward; it is never a
silent 0.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from reasonrl.api.reward_spec import Reward
from reasonrl.rl.records import Grade, GradedGroup, Group, Outcome
from reasonrl.rl.rewards import answer
from reasonrl.rl.rewards.combination import WeighedValue, combined_reward
from reasonrl.rl.rewards.component import Component, RemoteCall, RemoteFunction, RemoteReply, RewardContext, Scored, Submission
from reasonrl.rl.rewards.registry import make_components
from reasonrl.sandbox.calls import Call, CallOutcome, CallResult, FunctionReference
from reasonrl.sandbox.pool import WorkerPool

_MAX_WORKERS = 8
_OUTCOMES = {
    CallOutcome.VALUE: Outcome.VALUE,
    CallOutcome.ERROR: Outcome.ERROR,
    CallOutcome.TIMEOUT: Outcome.TIMEOUT,
    CallOutcome.CRASH: Outcome.ERROR,
}


class Grader:
    """Use as a context manager: inside it the workers run.

    `uses_tags` and `response_prefix` say how the prompt's template asks for answers: in `<answer>` tags, and after a `<think>` that the
    prompt has written already.
    """

    def __init__(
        self, rewards: Sequence[Reward], *, uses_tags: bool, response_prefix: str, base_directory: Path, workers: int | None = None
    ) -> None:
        self._components = make_components(rewards, RewardContext(uses_tags=uses_tags, base_directory=base_directory))
        self._response_prefix = response_prefix
        functions = [_reference(component.runs) for component in self._components if component.runs is not None]
        self._pool = WorkerPool(workers=workers or min(os.cpu_count() or 1, _MAX_WORKERS), preload=functions) if functions else None

    def __enter__(self) -> Self:
        """Raises SandboxError when a worker cannot be started, or cannot load what it is to run."""
        if self._pool is not None:
            self._pool.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    def grade(self, groups: Sequence[Group], *, max_response_tokens: int) -> list[GradedGroup]:
        """One grade for each response, in order. `max_response_tokens` is the limit that they were sampled under."""
        submissions = self._submissions(groups, max_response_tokens)
        drafts = [component.score(submission) for submission in submissions for component in self._components]
        calls = [draft for draft in drafts if isinstance(draft, RemoteCall)]
        results = iter(self._run(calls))
        components = [component for _ in submissions for component in self._components]
        scored = [
            component.read(_reply(next(results))) if isinstance(draft, RemoteCall) else draft
            for component, draft in zip(components, drafts, strict=True)
        ]
        width = len(self._components)
        grades = iter([self._grade(scored[start : start + width]) for start in range(0, len(scored), width)])
        return [GradedGroup(group, tuple(next(grades) for _ in group.responses)) for group in groups]

    def _submissions(self, groups: Sequence[Group], max_response_tokens: int) -> list[Submission]:
        return [
            Submission(
                text=response.text,
                prefix=self._response_prefix,
                question=group.prompt.question.text,
                answer=group.prompt.question.answer,
                fields=group.prompt.question.fields,
                tokens=int(response.tokens.numel()),
                max_response_tokens=max_response_tokens,
            )
            for group in groups
            for response in group.responses
        ]

    def _run(self, calls: Sequence[RemoteCall]) -> list[CallResult]:
        """A call whose worker died is made once more: it may have been killed from outside, for want of memory say, and what a response is
        worth must not depend on that. One that kills its worker itself does so again, and counts as that."""
        if self._pool is None:
            return []
        sandboxed = [_sandboxed(call) for call in calls]
        results = self._pool.run(sandboxed)
        died = [index for index, result in enumerate(results) if result.outcome is CallOutcome.CRASH]
        if died:
            for index, result in zip(died, self._pool.run([sandboxed[index] for index in died]), strict=True):
                results[index] = result
        return results

    def _grade(self, scored: Sequence[Scored]) -> Grade:
        parts = [
            WeighedValue(value=each.score.value, weight=component.weight, gate=component.gate)
            for component, each in zip(self._components, scored, strict=True)
        ]
        return Grade(reward=combined_reward(parts), correct=_verdict(self._components, scored), scores=tuple(each.score for each in scored))


def _verdict(components: Sequence[Component], scored: Sequence[Scored]) -> bool | None:
    """The answer component's verdict; without such a component, whether the first user function's value is above 0."""
    for judges in ("answer", "value"):
        for component, each in zip(components, scored, strict=True):
            if component.judges == judges:
                return each.correct
    return None


def _reference(function: RemoteFunction) -> FunctionReference:
    return FunctionReference(name=function.name, module=function.module, file=function.file)


JUDGE = _reference(answer.JUDGE)
"""What the answer reward runs, for those who grade without a job."""


def _sandboxed(call: RemoteCall) -> Call:
    return Call(function=_reference(call.function), arguments=call.arguments, optional=call.optional, timeout_seconds=call.timeout_seconds)


def _reply(result: CallResult) -> RemoteReply:
    return RemoteReply(outcome=_OUTCOMES[result.outcome], value=result.value, detail=result.detail)
