"""Filters keep what they should, and say what they dropped."""

from __future__ import annotations

import pytest

from reasonrl.data.errors import DataError
from reasonrl.data.filters import FILTERS, apply_filters
from reasonrl.rl.records import Question


def questions(*answers: str) -> list[Question]:
    return [Question(id=f"q{number}", text="?", answer=answer, source="made") for number, answer in enumerate(answers)]


def test_numeric_answer_keeps_numbers_in_order_and_reports_the_rest() -> None:
    kept, reports = apply_filters(questions("1", "east", r"\frac{1}{2}", "(1,2)", "x", "y", "2"), ["numericAnswer"])
    assert [question.answer for question in kept] == ["1", r"\frac{1}{2}", "2"]
    (report,) = reports
    assert (report.type, report.kept, report.dropped) == ("numericAnswer", 3, 4)
    assert report.examples == ("q1: east", "q3: (1,2)", "q4: x")
    assert str(report) == "filter numericAnswer: 3 kept, 4 dropped (such as q1: east; q3: (1,2); q4: x)"


def test_equal_questions_are_filtered_one_by_one() -> None:
    row = questions("x")[0]
    kept, _ = apply_filters([row, questions("1")[0], row], ["numericAnswer"])
    assert [question.answer for question in kept] == ["1"]


def test_no_filter_keeps_everything() -> None:
    source = questions("a", "b")
    assert apply_filters(source, []) == (source, [])


def test_filters_run_in_order_on_what_is_left() -> None:
    _, reports = apply_filters(questions("1", "a"), ["numericAnswer", "numericAnswer"])
    assert [(report.kept, report.dropped) for report in reports] == [(1, 1), (1, 0)]


def test_a_filter_that_leaves_nothing_says_so() -> None:
    with pytest.raises(DataError, match=r"filters\[0\]: numericAnswer drops every question \(q0: east\); is answerField the right one"):
        apply_filters(questions("east"), ["numericAnswer"])


def test_an_unknown_filter_is_named_with_those_there_are() -> None:
    with pytest.raises(DataError, match=r"filters\[1\]\.type: unknown filter 'prettyAnswer'; there is numericAnswer"):
        apply_filters(questions("1"), ["numericAnswer", "prettyAnswer"])


def test_the_contract_and_the_registry_name_the_same_filters() -> None:
    from typing import get_args

    from reasonrl.api.data_spec import DataFilter

    union, _ = get_args(DataFilter)
    # The filter by pass rate needs the policy, and is the run's.
    assert {*FILTERS, "passRate"} == {get_args(model.model_fields["type"].annotation)[0] for model in get_args(union)}
