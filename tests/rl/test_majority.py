"""maj@k: which answers are one, and who wins."""

from __future__ import annotations

import subprocess
import sys
from itertools import permutations

from reasonrl.rl.majority import CORRECT_CLASS, answer_classes, majority_score


def test_answers_that_the_grader_holds_equal_are_one_class() -> None:
    classes = answer_classes(["0.5", "\\frac12", "2", " 2.0 ", "x+1", "1 + x", "0.5"])
    assert classes == [0, 0, 2, 2, 4, 4, 0]


def test_the_right_answer_wins_with_the_most_votes_alone() -> None:
    assert majority_score([CORRECT_CLASS, "a", "b", CORRECT_CLASS]) == 1.0
    assert majority_score([CORRECT_CLASS, "a", "a"]) == 0.0
    assert majority_score(["a", "b"]) == 0.0


def test_a_sample_without_an_answer_does_not_vote() -> None:
    assert majority_score([None, None, None, CORRECT_CLASS]) == 1.0
    assert majority_score([None, None]) == 0.0
    assert majority_score([]) == 0.0


def test_a_tie_is_worth_the_chance_of_a_fair_draw_whatever_the_order() -> None:
    scores = {majority_score(order) for order in permutations([CORRECT_CLASS, "a", "b"])}
    assert scores == {1 / 3}
    assert majority_score([CORRECT_CLASS, "a", "a", CORRECT_CLASS, "b"]) == 0.5


def test_comparing_needs_no_torch() -> None:
    program = "import sys, reasonrl.rl.majority; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=120, check=False).returncode == 0
