"""maj@k: the answer that most of a question's samples agree on, and whether it is right.

Two answers are one when the grader holds them equal, not when they are the same text: 1/2 and 0.5 vote together. `answer_classes` compares
texts that a model wrote, so it is meant to run in a sandboxed worker; it takes and returns plain values, and neither it nor what it imports
may import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from reasonrl.rl.answers.equivalence import Judgement, equivalent

CORRECT_CLASS = "correct"


def answer_classes(answers: Sequence[str]) -> list[int]:
    """For each answer the index of the first one that it equals, its own if none. Compared in both directions with the first of each class:
    the grader's equality is not symmetric in every corner, and no more transitive than it says."""
    firsts: list[int] = []
    by_text: dict[str, int] = {}
    classes = []
    for index, answer in enumerate(answers):
        text = answer.strip()
        if text not in by_text:
            found = next((first for first in firsts if _equal(text, answers[first].strip())), index)
            if found == index:
                firsts.append(index)
            by_text[text] = found
        classes.append(by_text[text])
    return classes


def _equal(one: str, other: str) -> bool:
    return Judgement.EQUAL in (equivalent(one, other).judgement, equivalent(other, one).judgement)


def majority_score(votes: Sequence[str | None]) -> float:
    """1 when the right answer has the most votes, 0 when another has, and between several with equally many the chance that a fair draw
    takes the right one. `votes` are class names, CORRECT_CLASS among them; None, a sample without an answer, does not vote. 0 without a
    vote."""
    counts = Counter(vote for vote in votes if vote is not None)
    if not counts:
        return 0.0
    most = max(counts.values())
    leaders = [vote for vote, count in counts.items() if count == most]
    return 1 / len(leaders) if CORRECT_CLASS in leaders else 0.0
