"""Response lengths of one step by what became of the response, and what they say about the step.

The report's authors read length beside accuracy and the share of responses that finish inside the context: length that grows while
the other two fall is length hacking. All lengths are in tokens, the end token included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from reasonrl.rl.records import Grade, GradedGroup, Response

LengthOutcome = Literal["correct", "incorrect", "truncated", "unscored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthSummary:
    """Of no responses: a count and a maximum of 0, and the rest None."""

    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    maximum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthStatistics:
    """One step's lengths.

    `by_outcome` puts every response under exactly one outcome: truncated first, then unscored (no verdict on the answer), then
    correct or incorrect. `correct` and `incorrect` go by the verdict alone, truncated or not, as the report compares them (its
    Table 4). Accuracy is over responses with a verdict; None when there is none. Shares of groups are over all groups, and a group
    is all-right (all-wrong) when it has a verdict and every verdict is right (wrong).
    """

    every: LengthSummary
    correct: LengthSummary
    incorrect: LengthSummary
    by_outcome: dict[LengthOutcome, list[int]]
    accuracy: float | None
    truncated_share: float
    completed_share: float
    all_right_share: float
    all_wrong_share: float

    def summary(self, outcome: LengthOutcome) -> LengthSummary:
        return summarise(self.by_outcome[outcome])


def length_statistics(groups: Sequence[GradedGroup]) -> LengthStatistics:
    """Statistics of every response of `groups`. Raises `ValueError` without any response."""
    pairs = [(response, grade) for group in groups for response, grade in zip(group.group.responses, group.grades, strict=True)]
    if not pairs:
        raise ValueError("length statistics need at least one response")
    by_outcome: dict[LengthOutcome, list[int]] = {outcome: [] for outcome in get_args(LengthOutcome)}
    for response, grade in pairs:
        by_outcome[_outcome(response, grade)].append(_length(response))
    verdicts = [grade.correct for _, grade in pairs if grade.correct is not None]
    truncated = len(by_outcome["truncated"]) / len(pairs)
    return LengthStatistics(
        every=summarise([_length(response) for response, _ in pairs]),
        correct=summarise([_length(response) for response, grade in pairs if grade.correct is True]),
        incorrect=summarise([_length(response) for response, grade in pairs if grade.correct is False]),
        by_outcome=by_outcome,
        accuracy=sum(verdicts) / len(verdicts) if verdicts else None,
        truncated_share=truncated,
        completed_share=1.0 - truncated,
        all_right_share=sum(_verdicts(group) == {True} for group in groups) / len(groups),
        all_wrong_share=sum(_verdicts(group) == {False} for group in groups) / len(groups),
    )


def summarise(lengths: Sequence[int]) -> LengthSummary:
    """Percentiles interpolate linearly between the two nearest lengths (numpy's default)."""
    if not lengths:
        return LengthSummary(count=0, mean=None, p50=None, p95=None, maximum=0)
    p50, p95 = np.percentile(lengths, [50, 95])
    return LengthSummary(count=len(lengths), mean=float(np.mean(lengths)), p50=float(p50), p95=float(p95), maximum=max(lengths))


def _length(response: Response) -> int:
    return int(response.tokens.numel())


def _outcome(response: Response, grade: Grade) -> LengthOutcome:
    if response.truncated:
        return "truncated"
    if grade.correct is None:
        return "unscored"
    return "correct" if grade.correct else "incorrect"


def _verdicts(group: GradedGroup) -> set[bool]:
    return {grade.correct for grade in group.grades if grade.correct is not None}
