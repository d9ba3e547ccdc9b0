"""Votes of the answers to a question."""

from __future__ import annotations

from reasonrl.rl.majority import CORRECT_CLASS, majority_score
from reasonrl.run.standalone_evaluation.answer_grading import AnswerGrader, Judged
from reasonrl.run.standalone_evaluation.setting import GradingChoice


def judged(verdict: str, extracted: str = "") -> Judged:
    return Judged(verdict=verdict, detail="", extracted=extracted)


ANSWERS = [
    judged("correct", "7"),
    judged("correct", "14/2"),
    judged("incorrect", "1/2"),
    judged("incorrect", "0.5"),
    judged("incorrect", "\\frac{2}{4}"),
    judged("missing"),
    judged("timeout", "8"),
]


def test_equal_answers_vote_together_and_what_is_no_answer_does_not() -> None:
    with AnswerGrader(GradingChoice(require_boxed=False, timeout_seconds=30.0), workers=1) as grader:
        (votes,), by_text = grader.votes([ANSWERS])
    assert by_text == 0
    assert votes[:2] == [CORRECT_CLASS] * 2
    assert votes[2] == votes[3] == votes[4] != CORRECT_CLASS
    assert votes[5:] == [None, None]
    assert majority_score(votes) == 0.0


def test_answers_that_take_too_long_to_compare_vote_by_their_text_and_are_counted() -> None:
    answers = [judged("incorrect", text) for text in ("1/2", "0.5", "1/2")]
    # No process answers in a microsecond.
    with AnswerGrader(GradingChoice(require_boxed=False, timeout_seconds=1e-6), workers=1) as grader:
        (votes,), by_text = grader.votes([answers])
    assert by_text == 1
    assert votes[0] == votes[2] != votes[1]
