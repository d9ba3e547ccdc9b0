"""What is compared: a measure of each step or evaluation, and the part of a run that it is taken over.

Parts are shares of a run's own steps, so that one file of checks fits runs of any length.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from reasonrl.api.run_files import EvaluationMetrics, StepMetrics
from reasonrl.report.read import RunRecord
from reasonrl.report.wording import MISSING

Form = Literal["percent", "tokens", "number"]
Statistic = Literal["mean", "fluctuation"]
Point = tuple[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Of a training step, or of an evaluation: one of the two is given. `unit` stands on axes."""

    title: str
    unit: str
    form: Form
    of_step: Callable[[StepMetrics], float | None] | None = None
    of_evaluation: Callable[[EvaluationMetrics], float | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From one share of a run's steps to another, 0 to 1."""

    start: float
    end: float

    def __str__(self) -> str:
        if (self.start, self.end) == (0.0, 1.0):
            return "whole run"
        if self.end == 1.0:
            return f"last {100 * (1 - self.start):.0f} % of the steps"
        return (
            f"steps from {100 * self.start:.0f} % to {100 * self.end:.0f} %" if self.start else f"first {100 * self.end:.0f} % of the steps"
        )


WHOLE, FIRST, LAST = Window(start=0.0, end=1.0), Window(start=0.0, end=0.1), Window(start=0.9, end=1.0)

MEASURES: Mapping[str, Measure] = {
    "testAccuracy": Measure(title="test accuracy", unit="share of answers", form="percent", of_evaluation=lambda each: each.accuracy),
    "testLength": Measure(title="test answer length", unit="tokens", form="tokens", of_evaluation=lambda each: each.response_length_mean),
    "testTruncatedShare": Measure(
        title="truncated test answers", unit="share of answers", form="percent", of_evaluation=lambda each: each.truncated_share
    ),
    "trainAccuracy": Measure(title="training accuracy", unit="share of responses", form="percent", of_step=lambda step: step.accuracy),
    "reward": Measure(title="training reward", unit="mean reward", form="number", of_step=lambda step: step.reward_mean),
    "length": Measure(title="response length", unit="tokens", form="tokens", of_step=lambda step: step.response_length_mean),
    "correctLength": Measure(
        title="length of right responses", unit="tokens", form="tokens", of_step=lambda step: step.correct_length_mean
    ),
    "incorrectLength": Measure(
        title="length of wrong responses", unit="tokens", form="tokens", of_step=lambda step: step.incorrect_length_mean
    ),
    "truncatedShare": Measure(
        title="truncated responses", unit="share of responses", form="percent", of_step=lambda step: step.truncated_share
    ),
    "completedShare": Measure(
        title="completed responses", unit="share of responses", form="percent", of_step=lambda step: step.completed_share
    ),
    "entropy": Measure(title="entropy", unit="nats a token", form="number", of_step=lambda step: step.entropy),
    "kl": Measure(title="KL (k3)", unit="nats a token", form="number", of_step=lambda step: step.kl_k3),
    "clipFraction": Measure(title="clip fraction", unit="share of tokens", form="percent", of_step=lambda step: step.clip_fraction),
    "gradientNorm": Measure(title="gradient norm", unit="norm", form="number", of_step=lambda step: step.gradient_norm),
    "repetitiveShare": Measure(
        title="repetitive responses", unit="share of responses", form="percent", of_step=lambda step: step.repetitive_share
    ),
    "distinctNgrams": Measure(title="distinct 4-grams", unit="share of 4-grams", form="percent", of_step=lambda step: step.distinct_ngrams),
    "secondsPerStep": Measure(title="seconds a step", unit="seconds", form="number", of_step=lambda step: step.seconds.get("total")),
}


def points_of(run: RunRecord, measure: Measure) -> list[Point]:
    """The measure over steps, where it is known and finite. Evaluations of several benchmarks at one step count as their mean."""
    found: list[tuple[int, float | None]] = []
    if measure.of_step is not None:
        found = [(step.step, measure.of_step(step)) for step in run.steps]
    elif measure.of_evaluation is not None:
        by_step: dict[int, list[float | None]] = {}
        for each in run.evaluations:
            by_step.setdefault(each.step, []).append(measure.of_evaluation(each))
        for step, values in sorted(by_step.items()):
            known = [value for value in values if value is not None]
            found.append((step, statistics.fmean(known) if len(known) == len(values) else None))
    return [(step, value) for step, value in found if value is not None and math.isfinite(value)]


def in_window(points: Sequence[Point], window: Window, *, steps: int, is_evaluation: bool) -> list[float]:
    """Values within the window of a run of `steps` steps. A step lies at its middle; an evaluation at the number of steps before it."""
    middle = 0.0 if is_evaluation else 0.5
    rounding = 1e-9
    return [value for step, value in points if window.start - rounding <= (step + middle) / steps <= window.end + rounding]


def value_of(run: RunRecord, name: str, window: Window, statistic: Statistic = "mean") -> float | None:
    """One number for a run; None where it has none there. `fluctuation` is how far one value is from the next: the root mean square of
    their differences over √2, which for noise about any slow trend is the standard deviation of the noise."""
    measure = MEASURES[name]
    values = in_window(points_of(run, measure), window, steps=max(1, len(run.steps)), is_evaluation=measure.of_evaluation is not None)
    if statistic == "mean":
        return statistics.fmean(values) if values else None
    steps = [later - earlier for earlier, later in itertools.pairwise(values)]
    return math.sqrt(statistics.fmean(step * step for step in steps) / 2) if steps else None


def correlation_of(run: RunRecord, one: str, other: str, window: Window) -> float | None:
    """Pearson's, over the steps (or evaluations) that have both. None when there are fewer than three, or one of them does not vary."""
    first, second = dict(points_of(run, MEASURES[one])), dict(points_of(run, MEASURES[other]))
    is_evaluation = MEASURES[one].of_evaluation is not None
    shared = [step for step in first if step in second]
    kept = in_window([(step, float(step)) for step in shared], window, steps=max(1, len(run.steps)), is_evaluation=is_evaluation)
    if len(kept) < 3:
        return None
    try:
        return statistics.correlation([first[int(step)] for step in kept], [second[int(step)] for step in kept])
    except statistics.StatisticsError:
        return None


def shown(value: float | None, form: Form, *, signed: bool = False) -> str:
    """A value, or with `signed` a difference of two, in which per cents are points."""
    if value is None:
        return MISSING
    sign = "+" if signed else ""
    text = {"percent": f"{100 * value:{sign}.1f}", "tokens": f"{value:{sign},.1f}", "number": f"{value:{sign}.3g}"}[form]
    return text.replace("-", "−") + (" %" if form == "percent" and not signed else "")


def shown_with_spread(mean: float, spread: float, form: Form) -> str:
    """Both to the same decimals: the spread says how many of the mean's mean something."""
    if form == "percent":
        return f"{100 * mean:.1f} ± {100 * spread:.1f} %"
    # Two significant digits of the spread; of the mean three, where there is none.
    leading = spread if spread > 0 else abs(mean) / 10
    decimals = 1 if form == "tokens" else max(0, min(6, 1 - math.floor(math.log10(leading)))) if leading > 0 else 1
    return f"{mean:,.{decimals}f} ± {spread:,.{decimals}f}".replace("-", "−")
