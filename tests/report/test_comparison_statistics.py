"""Student's t without scipy, and the paired interval: against tables, against scipy where it is, and against what an interval promises."""

from __future__ import annotations

import math
import random

import pytest

from reasonrl.report.comparison.paired import paired, t_distribution, t_quantile


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.30265), (0.975, 4, 2.77645), (0.95, 9, 1.83311), (0.995, 30, 2.75000), (0.975, 1000, 1.96234)],
)
def test_quantiles_are_those_of_the_tables(probability: float, freedom: int, value: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(value, rel=1e-5)
    assert t_distribution(value, freedom) == pytest.approx(probability, abs=1e-6)


def test_one_degree_of_freedom_is_cauchy_and_two_have_a_closed_form() -> None:
    for value in (-30.0, -1.0, -0.01, 0.0, 0.5, 3.0, 1e6):
        assert t_distribution(value, 1) == pytest.approx(0.5 + math.atan(value) / math.pi, abs=1e-12)
        assert t_distribution(value, 2) == pytest.approx(0.5 + value / (2 * math.sqrt(2 + value * value)), abs=1e-12)


def test_the_interval_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    source = random.Random(1)
    for count in (2, 3, 5, 12):
        differences = [source.gauss(0.3, 1.0) for _ in range(count)]
        found, expected = paired(differences), stats.ttest_1samp(differences, 0.0)
        low, high = expected.confidence_interval(0.95)
        assert (found.low, found.high) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))
        assert found.p == pytest.approx(expected.pvalue, rel=1e-7)


def test_the_interval_of_three_seeds_by_hand() -> None:
    found = paired([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.low == pytest.approx(2 - 4.30265 / math.sqrt(3), rel=1e-5)
    assert found.high == pytest.approx(2 + 4.30265 / math.sqrt(3), rel=1e-5)
    assert found.p == pytest.approx(0.0741799, rel=1e-5)


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    source = random.Random(2)
    rounds = 2000
    inside = 0
    for _ in range(rounds):
        found = paired([source.gauss(0.7, 2.0) for _ in range(3)])
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0.7 <= found.high
    # Four standard errors of a share of 0.95 over so many rounds.
    assert abs(inside / rounds - 0.95) < 4 * math.sqrt(0.95 * 0.05 / rounds)


def test_one_seed_has_no_interval_and_equal_differences_have_an_empty_one() -> None:
    assert (paired([0.5]).low, paired([0.5]).p) == (None, None)
    assert (paired([0.5, 0.5]).low, paired([0.5, 0.5]).high, paired([0.5, 0.5]).p) == (0.5, 0.5, 0.0)
    assert paired([0.0, 0.0]).p == 1.0
    with pytest.raises(ValueError, match="at least one"):
        paired([])
