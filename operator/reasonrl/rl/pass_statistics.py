"""What several answers to each question say of a model: avg@k, pass@k, and how far chance alone could have moved them.

Questions are the sample, answers to one question are not independent of one another: so each question becomes one score between 0 and 1,
and every interval is over questions.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt
from typing import Literal

import numpy

LEVEL = 0.95
RESAMPLES = 10_000
BOOTSTRAP_SEED = 1

IntervalMethod = Literal["wilson", "bootstrap"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """From `low` to `high` with 95 % confidence, both in [0, 1]."""

    low: float
    high: float
    method: IntervalMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Mean score of `questions` questions. `standard_error` is None of a single one."""

    value: float
    interval: Interval
    standard_error: float | None
    questions: int


def pass_at_k(answers: int, correct: int, k: int) -> float:
    """Chance that at least one of `k` answers is right, when `correct` of `answers` drawn ones were: the unbiased estimator of Chen et al.
    2021 (Codex), 1 − C(n−c, k) / C(n, k).

    Raises ValueError unless 0 ≤ correct ≤ answers and 1 ≤ k ≤ answers.
    """
    if not 0 <= correct <= answers:
        raise ValueError(f"{correct} right answers of {answers}")
    if not 1 <= k <= answers:
        raise ValueError(f"pass@{k} needs at least one and at most as many answers as there are, {answers}")
    return 1.0 - comb(answers - correct, k) / comb(answers, k)


def estimate(scores: Sequence[float]) -> Estimate:
    """Mean of the questions' `scores`, each in [0, 1]. Where every score is 0 or 1 the interval is Wilson's, which holds for few questions
    and at both ends; otherwise the questions are resampled. Raises ValueError for no scores."""
    if not scores:
        raise ValueError("no question has a score")
    if all(score in (0.0, 1.0) for score in scores):
        interval = wilson_interval(int(sum(scores)), len(scores))
    else:
        interval = bootstrap_interval(scores)
    error = statistics.stdev(scores) / sqrt(len(scores)) if len(scores) > 1 else None
    return Estimate(value=statistics.fmean(scores), interval=interval, standard_error=error, questions=len(scores))


def wilson_interval(successes: int, trials: int) -> Interval:
    """Wilson's score interval of a share. Raises ValueError for no trials."""
    if trials < 1:
        raise ValueError("an interval needs at least one question")
    z = statistics.NormalDist().inv_cdf(0.5 + LEVEL / 2)
    share, scale = successes / trials, 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z / scale * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    # At the ends the formula is exact and floating point is not.
    return Interval(low=0.0 if successes == 0 else low, high=1.0 if successes == trials else high, method="wilson")


def bootstrap_interval(scores: Sequence[float]) -> Interval:
    """Percentile bootstrap of the mean over questions: 10,000 resamples, always from the same seed, so that the same scores have the same
    interval."""
    values = numpy.asarray(scores, dtype=numpy.float64)
    generator = numpy.random.default_rng(BOOTSTRAP_SEED)
    means = numpy.empty(RESAMPLES)
    block = max(1, 4_000_000 // len(values))
    for start in range(0, RESAMPLES, block):
        count = min(block, RESAMPLES - start)
        means[start : start + count] = values[generator.integers(0, len(values), size=(count, len(values)))].mean(axis=1)
    low, high = numpy.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(low=float(low), high=float(high), method="bootstrap")
