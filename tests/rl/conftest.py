"""Graded groups for tests that look at outcomes only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from reasonrl.rl.records import FinishReason, Grade, GradedGroup, Group, Prompt, Question, Response

Attempt = tuple[int, bool | None, float | None, bool]
"""`(length, correct, reward, truncated)` of one response."""


@pytest.fixture
def graded_group() -> Callable[[Sequence[Attempt]], GradedGroup]:
    """Makes a graded group from one attempt a response."""

    def make(attempts: Sequence[Attempt]) -> GradedGroup:
        prompt = Prompt(question=Question(id="q", text="1 + 1", answer="2", source="test"), text="1 + 1", tokens=(1, 2, 3))
        responses = tuple(
            Response(
                tokens=torch.arange(length),
                sampler_logprobs=torch.full((length,), -1.0),
                finish=FinishReason.LENGTH if truncated else FinishReason.STOP,
                weight_version=0,
                text="",
            )
            for length, _, _, truncated in attempts
        )
        grades = tuple(Grade(reward=reward, correct=correct, scores=()) for _, correct, reward, _ in attempts)
        return GradedGroup(group=Group(id="g", prompt=prompt, responses=responses), grades=grades)

    return make
