"""Do a training set and a held-out set share questions?

A benchmark that was trained on measures memory. Seeds keep our own task's sets apart, but nothing keeps two files apart, so the texts are
compared.
"""

from __future__ import annotations

from collections.abc import Iterable

from reasonrl.rl.records import Question


def shared_questions(training: Iterable[Question], held_out: Iterable[Question]) -> list[tuple[Question, Question]]:
    """Pairs (training, held-out) of equal text but for case, spacing, dollar signs and a closing mark; the first training question of each
    text."""
    first: dict[str, Question] = {}
    for question in training:
        first.setdefault(_plain(question.text), question)
    return [(first[plain], question) for question in held_out if (plain := _plain(question.text)) in first]


def _plain(text: str) -> str:
    # Signs and operators are part of a mathematical question; spacing, dollars and full stops are not.
    return "".join(text.casefold().split()).replace("$", "").rstrip(".?")
