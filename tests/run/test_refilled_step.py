"""Questions that can teach nothing are replaced, as often as is allowed, and what is left out is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from reasonrl.rl.records import FinishReason, Grade, GradedGroup, Group, Prompt, Question, Response
from reasonrl.rl.selection_rules import dynamic_sampling, question_selection
from reasonrl.run.refilled_step import RefilledStep, refilled
from reasonrl.run.rollout_source import Refill, SampledStep

LENGTHS = (5, 3)


def group(name: str) -> Group:
    """Two responses; the letters of the name are their verdicts: `rw-1` is right, then wrong."""
    prompt = Prompt(question=Question(id=name, text="?", answer="!", source="test"), text="?", tokens=(1,))
    responses = tuple(
        Response(
            tokens=torch.arange(length), sampler_logprobs=torch.zeros(length), finish=FinishReason.STOP, weight_version=0, text=verdict
        )
        for length, verdict in zip(LENGTHS, name[:2], strict=True)
    )
    return Group(id=name, prompt=prompt, responses=responses)


def grade(groups: Sequence[Group]) -> list[GradedGroup]:
    return [
        GradedGroup(each, tuple(Grade(reward=float(r.text == "r"), correct=r.text == "r", scores=()) for r in each.responses))
        for each in groups
    ]


Run = Callable[..., tuple[RefilledStep, list[Refill]]]


@pytest.fixture
def run() -> Run:
    def of(first: str, *refills: str, rules: Sequence[object]) -> tuple[RefilledStep, list[Refill]]:
        asked: list[Refill] = []

        def sample(refill: Refill) -> SampledStep:
            asked.append(refill)
            groups = [group(name) for name in refills[refill.number - 1].split()]
            assert len(groups) == refill.prompts
            return SampledStep(groups=groups, cursor=refill.cursor + refill.prompts)

        sampled = SampledStep(groups=[group(name) for name in first.split()], cursor=100)
        return refilled(sampled, rules, step=9, grade=grade, sample=sample), asked  # type: ignore[arg-type]

    return of


def names(groups: Sequence[GradedGroup]) -> list[str]:
    return [each.group.id for each in groups]


def test_questions_without_contrast_are_replaced_in_their_place_until_none_is_left(run: Run) -> None:
    step, asked = run("rr-0 rw-1 ww-2 wr-3", "rr-4 rw-5", "wr-6", rules=[dynamic_sampling(max_refills=3)])
    assert names(step.batch) == ["wr-6", "rw-1", "rw-5", "wr-3"]
    assert names(step.replaced) == ["rr-0", "ww-2", "rr-4"]
    assert (step.refills, step.cursor) == (2, 103)
    assert asked == [Refill(step=9, number=1, cursor=100, prompts=2), Refill(step=9, number=2, cursor=102, prompts=1)]


def test_the_bound_ends_it_with_what_is_lacking_left_in_the_batch(run: Run) -> None:
    step, asked = run("rr-0 rw-1", "ww-2", "rr-3", rules=[dynamic_sampling(max_refills=2)])
    assert names(step.batch) == ["rr-3", "rw-1"]
    assert (step.refills, step.cursor, len(asked)) == (2, 102, 2)


def test_what_another_rule_leaves_nothing_of_is_replaced_too(run: Run) -> None:
    # Of wr the right answer is the shorter, which question selection does not keep.
    step, _ = run("wr-0 rw-1", "rw-2", rules=[question_selection(), dynamic_sampling(max_refills=1)])
    assert names(step.batch) == ["rw-2", "rw-1"]


def test_without_dynamic_sampling_nothing_is_sampled_again(run: Run) -> None:
    step, asked = run("rr-0 ww-1", rules=[question_selection()])
    assert (names(step.batch), list(step.replaced), step.refills, step.cursor, asked) == (["rr-0", "ww-1"], [], 0, 100, [])
