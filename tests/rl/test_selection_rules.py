"""Each selection rule against tables worked out by hand.

A response is written as its length, a sign for its verdict (+ right, - wrong, ? none) and `x` where the limit cut it: `12+`, `40-x`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

import pytest

from reasonrl.api.selection_spec import SelectionRule as Spec
from reasonrl.rl.records import GradedGroup
from reasonrl.rl.selection import SelectionResult, SelectionRule, select
from reasonrl.rl.selection_rules import (
    SELECTION_RULES,
    accuracy_window,
    dynamic_sampling,
    overlength_mask,
    question_selection,
    response_selection,
)

Attempt = tuple[int, bool | None, float | None, bool]
Make = Callable[[Sequence[Attempt]], GradedGroup]


def attempt(text: str) -> Attempt:
    cut = text.endswith("x")
    sign = text.rstrip("x")[-1]
    correct = {"+": True, "-": False, "?": None}[sign]
    reward = {"+": 1.0, "-": -1.0, "?": None}[sign]
    return int(text.rstrip("x")[:-1]), correct, reward, cut


@pytest.fixture
def chosen(graded_group: Make) -> Callable[..., SelectionResult]:
    def of(responses: str, *rules: SelectionRule) -> SelectionResult:
        return select([graded_group([attempt(each) for each in responses.split()])], rules)

    return of


def bits(kept: tuple[bool, ...]) -> str:
    return "".join("1" if each else "0" for each in kept)


def test_every_rule_of_the_contract_is_in_the_registry() -> None:
    union, _ = get_args(Spec)
    assert set(SELECTION_RULES) == {get_args(model.model_fields["type"].annotation)[0] for model in get_args(union)}


@pytest.mark.parametrize(
    ("responses", "kept"),
    [
        ("10+ 20+ 12- 14-", "1111"),  # means 15 and 13
        ("10+ 20+ 12- 18-", "0000"),  # 15 and 15: not longer
        ("10+ 20+ 12- 19-", "0000"),  # 15 and 15.5
        ("30+ 1+ 16- 14-", "1111"),  # 15.5 and 15, though one right answer is the shortest of all
        ("10+ 20+", "00"),
        ("10- 20-", "00"),
        ("10+ 5- 900?", "110"),  # what has no reward is out before, and has no part in the means
        ("50+x 5+ 20-", "111"),  # 27.5 and 20
    ],
)
def test_question_selection(responses: str, kept: str, chosen: Callable[..., SelectionResult]) -> None:
    result = chosen(responses, question_selection())
    assert bits(result.in_gradient[0]) == bits(result.in_statistics[0]) == kept


@pytest.mark.parametrize(
    ("responses", "kept"),
    [
        ("10+ 30+ 20- 25-", "0110"),  # longest right 30, shortest wrong 20
        ("10+ 20+ 20- 25-", "0000"),  # 20 and 20: not longer
        ("10+ 19+ 20-", "000"),
        ("10+ 30+", "00"),
        ("10- 30-", "00"),
        ("30+ 30+ 20- 20-", "1010"),  # of equals the first
        ("40+ 900? 20- 30-", "1010"),
    ],
)
def test_response_selection(responses: str, kept: str, chosen: Callable[..., SelectionResult]) -> None:
    before = chosen(responses, response_selection(when="beforeGroupStatistics"))
    assert bits(before.in_gradient[0]) == bits(before.in_statistics[0]) == kept
    after = chosen(responses, response_selection(when="afterGroupStatistics"))
    assert bits(after.in_gradient[0]) == kept
    assert bits(after.in_statistics[0]) == "".join("0" if each.startswith("900") else "1" for each in responses.split())


@pytest.mark.parametrize(
    ("responses", "above", "below", "kept"),
    [
        ("1+ 2- 3- 4- 5-", 0.2, 0.8, False),  # 1 of 5 is not more than 0.2
        ("1+ 2+ 3- 4- 5-", 0.2, 0.8, True),
        ("1+ 2+ 3+ 4+ 5-", 0.2, 0.8, False),  # 4 of 5 is not less than 0.8
        ("1+ 2+ 3+ 4+ 5-", 0.0, 1.0, True),
        ("1+ 2+", 0.0, 1.0, False),
        ("1- 2-", 0.0, 1.0, False),
        ("1+ 2- 3? 4?", 0.4, 0.6, True),  # of those with a verdict
        ("3? 4?", 0.0, 1.0, False),
    ],
)
def test_accuracy_window(responses: str, above: float, below: float, kept: bool, chosen: Callable[..., SelectionResult]) -> None:
    result = chosen(responses, accuracy_window(above=above, below=below))
    assert any(result.in_gradient[0]) == any(result.in_statistics[0]) == kept


@pytest.mark.parametrize(("responses", "kept"), [("1+ 2-", True), ("1+ 2+", False), ("1- 2-", False), ("1+ 2?", False)])
def test_dynamic_sampling_keeps_groups_with_contrast(responses: str, kept: bool, chosen: Callable[..., SelectionResult]) -> None:
    rule = dynamic_sampling(max_refills=2)
    assert any(chosen(responses, rule).in_gradient[0]) == kept
    assert rule.refills == 2


def test_a_rule_compares_only_what_earlier_rules_left(chosen: Callable[..., SelectionResult]) -> None:
    responses = "30+x 10+ 20- 25-"
    assert bits(chosen(responses, response_selection(when="beforeGroupStatistics")).in_gradient[0]) == "1010"
    mask = overlength_mask(when="afterGroupStatistics")
    result = chosen(responses, mask, response_selection(when="beforeGroupStatistics"))
    assert bits(result.in_gradient[0]) == "0000"
    assert result.kept == {"unscored": 4, "overlengthMask": 3, "responseSelection": 0}
    assert result.dropped == {"unscored": 0, "overlengthMask": 1, "responseSelection": 3}


@pytest.mark.parametrize("rule", ["overlengthMask", "responseSelection"])
def test_an_unknown_moment_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match="when is 'never'"):
        SELECTION_RULES[rule](when="never")
