"""Shared questions are found whatever their spacing and case, and different ones are not confused."""

from __future__ import annotations

from reasonrl.data.overlap import shared_questions
from reasonrl.rl.records import Question


def question(identifier: str, text: str) -> Question:
    return Question(id=identifier, text=text, answer="1", source="made")


def test_finds_pairs_but_for_spacing_case_and_dollars() -> None:
    training = [question("t1", "What is  $2 + 2$?"), question("t2", "What is 2 - 2?"), question("t3", "what is 2+2")]
    held_out = [question("h1", "what is 2+2 ?\n"), question("h2", "What is 3 + 2?"), question("h3", "What is 2-2.")]
    assert [(train.id, held.id) for train, held in shared_questions(training, held_out)] == [("t1", "h1"), ("t2", "h3")]


def test_signs_and_digits_are_told_apart() -> None:
    assert shared_questions([question("t", "f(x) = x^2 - 1")], [question("h", "f(x) = x^2 + 1"), question("i", "f(x) = x^21")]) == []
