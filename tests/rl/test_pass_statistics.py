"""pass@k and intervals, against enumeration, closed forms and published values."""

from __future__ import annotations

import random
import statistics
from itertools import combinations
from math import prod, sqrt

import numpy
import pytest

from reasonrl.rl.pass_statistics import bootstrap_interval, estimate, pass_at_k, wilson_interval


@pytest.mark.parametrize("answers", range(1, 9))
def test_pass_at_k_is_the_share_of_all_subsets_with_a_right_answer(answers: int) -> None:
    for correct in range(answers + 1):
        marks = [True] * correct + [False] * (answers - correct)
        for k in range(1, answers + 1):
            subsets = list(combinations(marks, k))
            assert pass_at_k(answers, correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_agrees_with_the_product_form_of_the_paper_for_many_answers() -> None:
    for answers, correct, k in ((200, 3, 100), (64, 10, 8), (1000, 1, 999), (10_000, 17, 512)):
        product = 1.0 - float(numpy.prod(1.0 - k / numpy.arange(answers - correct + 1, answers + 1)))
        assert pass_at_k(answers, correct, k) == pytest.approx(product, rel=1e-9)


def test_pass_at_k_is_unbiased_for_a_known_chance() -> None:
    chance, answers, k = 0.3, 10, 4
    binomial = [
        prod(range(answers - c + 1, answers + 1)) / prod(range(1, c + 1)) * chance**c * (1 - chance) ** (answers - c) for c in range(11)
    ]
    expected = sum(weight * pass_at_k(answers, c, k) for c, weight in enumerate(binomial))
    assert expected == pytest.approx(1 - (1 - chance) ** k)


@pytest.mark.parametrize(("answers", "correct", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)])
def test_pass_at_k_of_what_cannot_be_is_refused(answers: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match=r"right answers|needs at least"):
        pass_at_k(answers, correct, k)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17), table I, method 3: the score interval.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_has_the_published_values(successes: int, trials: int, low: float, high: float) -> None:
    interval = wilson_interval(successes, trials)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_interval_solves_the_score_equation_and_mirrors() -> None:
    for successes, trials in ((1, 30), (9, 30), (250, 500)):
        interval = wilson_interval(successes, trials)
        for bound in (interval.low, interval.high):
            z = abs(successes / trials - bound) / sqrt(bound * (1 - bound) / trials)
            assert z == pytest.approx(1.959963984540054)
        mirrored = wilson_interval(trials - successes, trials)
        assert (mirrored.low, mirrored.high) == (pytest.approx(1 - interval.high), pytest.approx(1 - interval.low))
    assert wilson_interval(30, 30).high == 1.0
    assert wilson_interval(0, 30).low == 0.0


def test_bootstrap_interval_of_many_questions_is_near_the_normal_one_and_always_the_same() -> None:
    generator = random.Random(5)
    scores = [generator.randrange(9) / 8 for _ in range(400)]
    interval = bootstrap_interval(scores)
    half = 1.96 * statistics.pstdev(scores) / sqrt(len(scores))
    mean = statistics.fmean(scores)
    assert interval.low == pytest.approx(mean - half, abs=0.1 * half)
    assert interval.high == pytest.approx(mean + half, abs=0.1 * half)
    assert bootstrap_interval(scores) == interval


def test_bootstrap_interval_of_two_questions_is_their_range() -> None:
    # Of two, a quarter of the resamples are all the lower and a quarter all the higher one.
    assert bootstrap_interval([0.25, 0.75]).low == 0.25
    assert bootstrap_interval([0.25, 0.75]).high == 0.75


def test_an_estimate_says_which_interval_it_has() -> None:
    whole = estimate([1.0, 0.0, 0.0, 1.0])
    assert (whole.value, whole.interval, whole.questions) == (0.5, wilson_interval(2, 4), 4)
    assert whole.standard_error == pytest.approx(statistics.stdev([1, 0, 0, 1]) / 2)
    assert estimate([0.5, 1.0]).interval.method == "bootstrap"
    assert estimate([1.0]).standard_error is None
    with pytest.raises(ValueError, match="no question"):
        estimate([])
