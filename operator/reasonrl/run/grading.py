"""Grades the responses of a step: what is safe is computed here, what is not runs in killable workers.

Answers and user functions see text that the policy wrote, and a policy finds whatever hangs or crashes a parser; so they run in the
sandbox, under a wall-clock limit. Format and length are plain arithmetic. An attempt that fails is counted as what it was and leaves
the response without a reward; it is never a silent 0.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from reasonrl.api.reward_spec import AnswerReward, FormatReward, FunctionReward, OverlongReward, Reward
from reasonrl.rl.records import Grade, GradedGroup, Group, Outcome, Response, Score
from reasonrl.rl.rewards.answer import CORRECT, MISSING, UNSCORABLE
from reasonrl.rl.rewards.combination import WeighedValue, combined_reward
from reasonrl.rl.rewards.format import format_fault
from reasonrl.rl.rewards.overlong import overlong_punishment
from reasonrl.sandbox.calls import Call, CallOutcome, CallResult, FunctionReference
from reasonrl.sandbox.pool import WorkerPool

JUDGE = FunctionReference(name="judge", module="reasonrl.rl.rewards.answer")


@dataclass(frozen=True, slots=True)
class _Item:
    """One response with all that a reward may look at."""

    group: Group
    response: Response
    limit: int


class Grader:
    """Use as a context manager: inside it the workers run.

    `uses_tags` and `response_prefix` say how the prompt's template asks for answers: in `<answer>` tags, and after a `<think>` that the
    prompt has written already.
    """

    def __init__(
        self, rewards: Sequence[Reward], *, uses_tags: bool, response_prefix: str, base_directory: Path, workers: int | None = None
    ) -> None:
        self._rewards = tuple(rewards)
        self._uses_tags = uses_tags
        self._response_prefix = response_prefix
        self._base_directory = base_directory
        functions = [_reference(reward, base_directory) for reward in self._rewards if isinstance(reward, AnswerReward | FunctionReward)]
        self._pool = WorkerPool(workers=workers or min(os.cpu_count() or 1, 8), preload=functions) if functions else None

    def __enter__(self) -> Self:
        if self._pool is not None:
            self._pool.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    def grade(self, groups: Sequence[Group], *, max_response_tokens: int) -> list[GradedGroup]:
        """One grade for each response, in order. `max_response_tokens` is the limit that they were sampled under."""
        items = [_Item(group, response, max_response_tokens) for group in groups for response in group.responses]
        by_reward = [self._scores(reward, items) for reward in self._rewards]
        grades = iter([self._grade(scores) for scores in zip(*by_reward, strict=True)])
        return [GradedGroup(group, tuple(next(grades) for _ in group.responses)) for group in groups]

    def _grade(self, scores: Sequence[Score]) -> Grade:
        parts = [
            WeighedValue(
                value=score.value,
                weight=reward.weight,
                gate=isinstance(reward, FormatReward) and reward.mode == "gate",
            )
            for reward, score in zip(self._rewards, scores, strict=True)
        ]
        return Grade(reward=combined_reward(parts), correct=self._correct(scores), scores=tuple(scores))

    def _correct(self, scores: Sequence[Score]) -> bool | None:
        """The answer component's verdict; without one, a user function's value above 0."""
        for kind in (AnswerReward, FunctionReward):
            for reward, score in zip(self._rewards, scores, strict=True):
                if isinstance(reward, kind):
                    if score.value is None:
                        return None
                    return score.detail == CORRECT if isinstance(reward, AnswerReward) else score.value > 0
        return None

    def _scores(self, reward: Reward, items: Sequence[_Item]) -> list[Score]:
        match reward:
            case AnswerReward():
                return [_answer_score(reward, result) for result in self._run(self._answer_calls(reward, items))]
            case FunctionReward():
                return [_function_score(reward, result) for result in self._run(self._function_calls(reward, items))]
            case FormatReward():
                return [self._format_score(item) for item in items]
            case OverlongReward():
                return [
                    Score(
                        "overlong",
                        Outcome.VALUE,
                        overlong_punishment(int(item.response.tokens.numel()), limit=item.limit, buffer=reward.buffer_tokens),
                    )
                    for item in items
                ]

    def _run(self, calls: Iterator[Call]) -> list[CallResult]:
        return [] if self._pool is None else self._pool.run(list(calls))

    def _answer_calls(self, reward: AnswerReward, items: Sequence[_Item]) -> Iterator[Call]:
        for item in items:
            yield Call(
                function=JUDGE,
                arguments={
                    "response": item.response.text,
                    "answer": item.group.prompt.question.answer,
                    "tags": self._uses_tags,
                    "require_boxed": reward.require_boxed,
                },
                timeout_seconds=reward.timeout_seconds,
            )

    def _function_calls(self, reward: FunctionReward, items: Sequence[_Item]) -> Iterator[Call]:
        for item in items:
            question = item.group.prompt.question
            required = {"response": item.response.text, "answer": question.answer, "question": question.text}
            yield Call(
                function=_reference(reward, self._base_directory),
                arguments=required,
                optional={name: value for name, value in question.fields.items() if name not in required},
                timeout_seconds=reward.timeout_seconds,
            )

    def _format_score(self, item: _Item) -> Score:
        fault = format_fault(item.response.text, prefix=self._response_prefix)
        return Score("format", Outcome.VALUE, float(fault is None), fault or "")


def _reference(reward: AnswerReward | FunctionReward, base_directory: Path) -> FunctionReference:
    if isinstance(reward, AnswerReward):
        return JUDGE
    return FunctionReference(name=reward.function, file=base_directory / reward.path)


def _answer_score(reward: AnswerReward, result: CallResult) -> Score:
    if result.outcome is not CallOutcome.VALUE or not isinstance(result.value, dict):
        return _failed("answer", result)
    verdict = result.value["verdict"]
    if verdict == UNSCORABLE:
        return Score("answer", Outcome.UNSCORABLE, None, str(result.value["detail"]))
    value = {CORRECT: reward.correct, MISSING: reward.missing}.get(verdict, reward.incorrect)
    return Score("answer", Outcome.VALUE, value, str(verdict))


def _function_score(reward: FunctionReward, result: CallResult) -> Score:
    if result.outcome is not CallOutcome.VALUE:
        return _failed(reward.function, result)
    if result.value is None:
        return Score(reward.function, Outcome.UNSCORABLE, None, "the function returned None")
    if isinstance(result.value, bool | int | float) and math.isfinite(result.value):
        return Score(reward.function, Outcome.VALUE, float(result.value))
    return Score(reward.function, Outcome.ERROR, None, f"the function returned {result.value!r}; it must return a finite number or None")


def _failed(component: str, result: CallResult) -> Score:
    outcome = Outcome.TIMEOUT if result.outcome is CallOutcome.TIMEOUT else Outcome.ERROR
    return Score(component, outcome, None, result.detail)
