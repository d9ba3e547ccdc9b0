"""The filter by pass rate: the policy answers every question some times before training, and questions that it always or never gets right
are left out.

What was measured is kept in the run's directory, because a resumed run has other weights and must train on the same questions. A run that
ends before its first checkpoint measures anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reasonrl.api.data_spec import PassRateFilter
from reasonrl.data.errors import DataError
from reasonrl.rl.records import GradedGroup, Group, Prompt, Question
from reasonrl.rollout.protocol import RolloutEngine, SamplingSetting
from reasonrl.run.errors import RunInputError
from reasonrl.run.seeds import derive_seed

PASS_RATE_FILE = "pass-rate.jsonl"
BLOCK = 256
"""Questions sampled in one call of the engine."""


@dataclass(frozen=True, slots=True)
class PassRate:
    """`right` of `graded` answers to one question; answers that could not be scored are in neither."""

    id: str
    right: int
    graded: int


def pass_rate_filter(filters: Sequence[object]) -> PassRateFilter | None:
    return next((each for each in filters if isinstance(each, PassRateFilter)), None)


def measure(
    prompts: Sequence[Prompt],
    rule: PassRateFilter,
    engine: RolloutEngine,
    grade: Callable[[Sequence[Group]], list[GradedGroup]],
    *,
    max_response_tokens: int,
    seed: int,
) -> Iterator[list[PassRate]]:
    """One rate for each prompt, in order, block by block. The engine has the weights to be measured."""
    for start in range(0, len(prompts), BLOCK):
        asked = prompts[start : start + BLOCK]
        setting = SamplingSetting(
            max_response_tokens=max_response_tokens, temperature=rule.temperature, seed=derive_seed(seed, "pass-rate", start)
        )
        sampled = engine.sample(asked, responses_per_prompt=rule.samples, setting=setting)
        groups = [
            Group(id=f"pass-rate-{start + place}", prompt=prompt, responses=responses)
            for place, (prompt, responses) in enumerate(zip(asked, sampled, strict=True))
        ]
        yield [_rate(each) for each in grade(groups)]


def write_rates(directory: Path, rates: Sequence[PassRate]) -> None:
    """Whole or not at all."""
    path = directory / PASS_RATE_FILE
    aside = path.with_suffix(".tmp")
    aside.write_text("".join(json.dumps({"id": each.id, "right": each.right, "graded": each.graded}) + "\n" for each in rates))
    aside.replace(path)


def read_rates(directory: Path) -> list[PassRate]:
    """Raises RunInputError when they are not there or cannot be read."""
    path = directory / PASS_RATE_FILE
    try:
        return [PassRate(**json.loads(line)) for line in path.read_text().splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise RunInputError(
            f"{path} says which questions this run trains on (spec.data.filters, passRate), and cannot be read: {error}. Bring it back, or "
            "begin another run"
        ) from error


def kept_questions(questions: Sequence[Question], rates: Sequence[PassRate], rule: PassRateFilter) -> list[Question]:
    """Those with `min` ≤ share of right answers ≤ `max`; a question without a graded answer is not kept.

    Raises RunInputError for rates of other questions, and DataError when nothing is kept.
    """
    if [each.id for each in rates] != [question.id for question in questions]:
        raise RunInputError(f"{PASS_RATE_FILE} is of other questions than spec.data.train has now; begin another run")
    kept = [
        question
        for question, rate in zip(questions, rates, strict=True)
        if rate.graded and rule.min <= rate.right / rate.graded <= rule.max
    ]
    if not kept:
        right, graded = sum(each.right for each in rates), sum(each.graded for each in rates)
        raise DataError(
            f"spec.data.filters: passRate keeps none of {len(questions)} questions: the policy gets {right} of {graded} answers right, and "
            f"each question must lie between {rule.min:g} and {rule.max:g}; widen the bounds, or take other questions"
        )
    return kept


def told(rates: Sequence[PassRate], rule: PassRateFilter, *, kept: int) -> str:
    """What the filter did, for the run's notes."""
    shares = [each.right / each.graded for each in rates if each.graded]
    too_hard, too_easy = sum(share < rule.min for share in shares), sum(share > rule.max for share in shares)
    return (
        f"filter passRate: {kept} kept, {len(rates) - kept} dropped ({too_hard} below {rule.min:g}, {too_easy} above {rule.max:g}, "
        f"{len(rates) - len(shares)} that could not be graded), by {rule.samples} answers to each"
    )


def _rate(group: GradedGroup) -> PassRate:
    verdicts = [grade.correct for grade in group.grades if grade.correct is not None]
    return PassRate(group.group.prompt.question.id, right=sum(verdicts), graded=len(verdicts))
