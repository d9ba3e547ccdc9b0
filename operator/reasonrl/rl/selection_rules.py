"""The selection rules, by their `type` in the spec: a new one is one function that makes the rule from its fields, and one line below.

Rules that compare responses look at those that earlier rules left in the gradient and whose answer has a verdict. Lengths are in tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from reasonrl.rl.records import GradedGroup
from reasonrl.rl.selection import Kept, SelectionRule

When = Literal["beforeGroupStatistics", "afterGroupStatistics"]


def overlength_mask(*, when: When) -> SelectionRule:
    """Truncated responses take no part in the gradient (STILL-3 section 4.2, "overlength response masking").

    `beforeGroupStatistics`: nor in the group's mean and std, as if they had not been sampled. `afterGroupStatistics`: their reward
    still moves the group's baseline. Raises `ValueError` for another `when`.
    """
    _check(when)

    def apply(group: GradedGroup, kept: Kept) -> Kept:
        return _masked(tuple(not response.truncated for response in group.group.responses), kept, when=when)

    return SelectionRule("overlengthMask", apply)


def question_selection() -> SelectionRule:
    """Keeps a question when its right answers are longer on average than its wrong ones (STILL-3 section 4.2, "question selection"), for
    the statistics and for the gradient. Without right or without wrong answers there is nothing to compare, and it is not kept."""

    def apply(group: GradedGroup, kept: Kept) -> Kept:
        right, wrong = _places(group, kept, correct=True), _places(group, kept, correct=False)
        holds = bool(right and wrong) and _mean_length(group, right) > _mean_length(group, wrong)
        return _whole(group, holds=holds)

    return SelectionRule("questionSelection", apply)


def response_selection(*, when: When) -> SelectionRule:
    """Keeps the longest right and the shortest wrong response of a question where the former is the longer, and nothing elsewhere (STILL-3
    section 4.2, "response selection"). Of equals the first. Raises `ValueError` for another `when`."""
    _check(when)

    def apply(group: GradedGroup, kept: Kept) -> Kept:
        right, wrong = _places(group, kept, correct=True), _places(group, kept, correct=False)
        chosen: set[int] = set()
        if right and wrong:
            longest = max(right, key=lambda place: _length(group, place))
            shortest = min(wrong, key=lambda place: _length(group, place))
            if _length(group, longest) > _length(group, shortest):
                chosen = {longest, shortest}
        return _masked(tuple(place in chosen for place in range(len(group.grades))), kept, when=when)

    return SelectionRule("responseSelection", apply)


def accuracy_window(*, above: float, below: float) -> SelectionRule:
    """Keeps a question when `above` < its share of right answers < `below`, for the statistics and for the gradient."""

    def apply(group: GradedGroup, kept: Kept) -> Kept:
        right, wrong = len(_places(group, kept, correct=True)), len(_places(group, kept, correct=False))
        return _whole(group, holds=right + wrong > 0 and above < right / (right + wrong) < below)

    return SelectionRule("accuracyWindow", apply)


def dynamic_sampling(*, max_refills: int) -> SelectionRule:
    """Keeps a question with right and with wrong answers, and lets the step replace the others `max_refills` times (DAPO, arXiv 2503.14476,
    section 3.2)."""

    def apply(group: GradedGroup, kept: Kept) -> Kept:
        return _whole(group, holds=bool(_places(group, kept, correct=True) and _places(group, kept, correct=False)))

    return SelectionRule("dynamicSampling", apply, refills=max_refills)


SELECTION_RULES: Mapping[str, Callable[..., SelectionRule]] = {
    "overlengthMask": overlength_mask,
    "questionSelection": question_selection,
    "responseSelection": response_selection,
    "accuracyWindow": accuracy_window,
    "dynamicSampling": dynamic_sampling,
}
"""By the rule's `type` in the spec; takes the rule's other fields, by their Python names, as keyword arguments."""


def _check(when: str) -> None:
    if when not in ("beforeGroupStatistics", "afterGroupStatistics"):
        raise ValueError(f"when is {when!r}: use beforeGroupStatistics or afterGroupStatistics")


def _masked(chosen: tuple[bool, ...], kept: Kept, *, when: When) -> Kept:
    return Kept(in_statistics=chosen if when == "beforeGroupStatistics" else kept.in_statistics, in_gradient=chosen)


def _whole(group: GradedGroup, *, holds: bool) -> Kept:
    every = (holds,) * len(group.grades)
    return Kept(in_statistics=every, in_gradient=every)


def _places(group: GradedGroup, kept: Kept, *, correct: bool) -> list[int]:
    """Where the responses are that are left in the gradient and have this verdict."""
    return [place for place, grade in enumerate(group.grades) if kept.in_gradient[place] and grade.correct is correct]


def _length(group: GradedGroup, place: int) -> int:
    return int(group.group.responses[place].tokens.numel())


def _mean_length(group: GradedGroup, places: list[int]) -> float:
    return sum(_length(group, place) for place in places) / len(places)
