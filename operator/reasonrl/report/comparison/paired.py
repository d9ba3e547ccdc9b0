"""A difference over a few seeds, with its uncertainty: the paired t interval.

Arms share seeds, and with the seed the model that they begin with and the questions, so each seed gives one difference and what all arms
of a seed have in common falls out. A bootstrap of three to five numbers is far too narrow, and a sign test of three can never say
anything, so the t distribution it is: it takes the differences over seeds to be about normal, which so few cannot show.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95
_ROUNDS = 300
_SMALL = 1e-300


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedResult:
    """Mean of the differences, its two-sided interval and the two-sided p value of "no difference". `low` and `high` are None with one
    difference."""

    mean: float
    low: float | None
    high: float | None
    p: float | None


def paired(differences: Sequence[float]) -> PairedResult:
    """Raises ValueError when there is none."""
    if not differences:
        raise ValueError("a mean needs at least one difference")
    mean = statistics.fmean(differences)
    count = len(differences)
    if count < 2:
        return PairedResult(mean=mean, low=None, high=None, p=None)
    error = statistics.stdev(differences) / math.sqrt(count)
    if error == 0:
        return PairedResult(mean=mean, low=mean, high=mean, p=0.0 if mean else 1.0)
    reach = t_quantile((1 + CONFIDENCE) / 2, count - 1) * error
    p = 2 * (1 - t_distribution(abs(mean) / error, count - 1))
    return PairedResult(mean=mean, low=mean - reach, high=mean + reach, p=p)


def t_distribution(value: float, freedom: int) -> float:
    """Probability that Student's t with `freedom` degrees of freedom is at most `value`."""
    tail = 0.5 * _incomplete_beta(freedom / (freedom + value * value), freedom / 2, 0.5)
    return 1 - tail if value > 0 else tail


@cache
def t_quantile(probability: float, freedom: int) -> float:
    """The value below which Student's t lies with this probability, from 0.5 up to 1."""
    if not 0.5 <= probability < 1:
        raise ValueError(f"probability {probability} must be at least 0.5 and below 1")
    high = 1.0
    while t_distribution(high, freedom) < probability:
        high *= 2
    low = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        if t_distribution(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    # The fraction converges fast on one side of the mean only; the other follows by symmetry.
    if x > (a + 1) / (a + b + 2):
        return 1 - front * _fraction(1 - x, b, a) / b
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _ROUNDS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / _away_from_zero(1 + even * d), _away_from_zero(1 + even / c)
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / _away_from_zero(1 + odd * d), _away_from_zero(1 + odd / c)
        value *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _SMALL else _SMALL
