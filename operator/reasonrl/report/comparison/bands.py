"""One curve for an arm: the mean over its seeds, and the band from the lowest seed to the highest.

The band is not an interval of anything: with a few seeds, where they lie is all that can be shown without assuming more.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from reasonrl.report.comparison.arms import Arm
from reasonrl.report.comparison.measures import Measure, points_of
from reasonrl.report.marks import phases_of
from reasonrl.report.smoothing import smoothed


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Values at `steps`; `seeds` is how many runs are in each."""

    steps: Sequence[int]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    seeds: int


def band_of(arm: Arm, measure: Measure, *, window: int) -> Band | None:
    """Each seed's curve is smoothed over `window` steps first, evaluations not at all. At steps that every seed has a value for; None
    when there is none."""
    curves = []
    for run in arm.runs.values():
        points = points_of(run, measure)
        values: list[float | None] = [value for _, value in points]
        if measure.of_step is not None:
            starts = {phase.start for phase in phases_of(run)[1:]} if measure.form == "tokens" else set()
            values = smoothed(values, window, breaks={place for place, (step, _) in enumerate(points) if step in starts})
        curves.append({step: value for (step, _), value in zip(points, values, strict=True) if value is not None})
    steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    if not steps:
        return None
    at = [[curve[step] for curve in curves] for step in steps]
    return Band(
        steps=steps,
        mean=[statistics.fmean(values) for values in at],
        low=[min(values) for values in at],
        high=[max(values) for values in at],
        seeds=len(curves),
    )
