"""When a phase ends: what its triggers see, and which of them fires.

A trigger looks only at steps of its own phase: a new limit changes lengths and truncation at once, and what the phase before showed says
nothing about it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from reasonrl.api.phase_spec import (
    AccuracyPlateauTrigger,
    LengthPlateauTrigger,
    ResponseLengthTrigger,
    TruncatedShareTrigger,
    UntilSpec,
)
from reasonrl.api.run_files import StepMetrics

DEFAULT_PERCENTILE = 95.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSignals:
    """What one step showed. Shares and accuracy are 0 to 1, lengths in tokens; `response_length_percentile` is at the percentile that
    the phase asks for; `accuracy` is None when no response could be scored."""

    truncated_share: float
    response_length_percentile: float
    response_length_mean: float
    accuracy: float | None


def signals_of(metrics: StepMetrics, until: UntilSpec) -> StepSignals:
    """What the triggers of a phase need to remember of one step."""
    percentile = DEFAULT_PERCENTILE if until.response_length is None else until.response_length.percentile
    return StepSignals(
        truncated_share=metrics.truncated_share,
        response_length_percentile=length_percentile(
            [length for bucket in metrics.lengths_by_outcome.values() for length in bucket], percentile
        ),
        response_length_mean=metrics.response_length_mean,
        accuracy=metrics.accuracy,
    )


def phase_end_reason(signals: Sequence[StepSignals], until: UntilSpec) -> str | None:
    """Why the phase ends now, as a sentence, or None. `signals` has one record for each step of this phase so far, oldest first."""
    if until.steps is not None and len(signals) >= until.steps:
        return f"{len(signals)} steps are done (steps: {until.steps})"
    found = (
        _truncated(signals, until.truncated_share)
        or _long(signals, until.response_length)
        or _accuracy_flat(signals, until.accuracy_plateau)
        or _length_flat(signals, until.length_plateau)
    )
    if found is not None:
        return found
    if until.max_steps is not None and len(signals) >= until.max_steps:
        return f"{len(signals)} steps are done (maxSteps: {until.max_steps})"
    return None


def _truncated(signals: Sequence[StepSignals], trigger: TruncatedShareTrigger | None) -> str | None:
    if trigger is None or len(signals) < trigger.for_steps:
        return None
    recent = [each.truncated_share for each in signals[-trigger.for_steps :]]
    if min(recent) <= trigger.above:
        return None
    return f"the truncated share was above {trigger.above:g} for {trigger.for_steps} steps (last {recent[-1]:.3g})"


def _long(signals: Sequence[StepSignals], trigger: ResponseLengthTrigger | None) -> str | None:
    if trigger is None or len(signals) < trigger.for_steps:
        return None
    recent = [each.response_length_percentile for each in signals[-trigger.for_steps :]]
    if min(recent) <= trigger.above:
        return None
    return (
        f"percentile {trigger.percentile:g} of the response length was above {trigger.above} tokens for {trigger.for_steps} steps (last "
        f"{recent[-1]:.0f})"
    )


def _accuracy_flat(signals: Sequence[StepSignals], trigger: AccuracyPlateauTrigger | None) -> str | None:
    if trigger is None:
        return None
    halves = _halves([each.accuracy for each in signals if each.accuracy is not None], trigger.window)
    if halves is None:
        return None
    earlier, recent = halves
    if recent - earlier >= trigger.min_gain:
        return None
    return (
        f"accuracy is flat: {recent:.3g} over the last {trigger.window} steps, {earlier:.3g} over the {trigger.window} before (minGain: "
        f"{trigger.min_gain:g})"
    )


def _length_flat(signals: Sequence[StepSignals], trigger: LengthPlateauTrigger | None) -> str | None:
    if trigger is None:
        return None
    halves = _halves([each.response_length_mean for each in signals], trigger.window)
    if halves is None:
        return None
    earlier, recent = halves
    if recent - earlier >= trigger.min_gain * earlier:
        return None
    return (
        f"response length is flat: {recent:.0f} tokens over the last {trigger.window} steps, {earlier:.0f} over the {trigger.window} "
        f"before (minGain: {trigger.min_gain:g})"
    )


def _halves(values: Sequence[float], window: int) -> tuple[float, float] | None:
    """Mean of the window before the last one, and of the last one; None while there are fewer than two windows."""
    if len(values) < 2 * window:
        return None
    return statistics.fmean(values[-2 * window : -window]), statistics.fmean(values[-window:])


def length_percentile(values: Sequence[int], percentile: float) -> float:
    """Nearest rank; 0 of nothing."""
    if not values:
        return 0.0
    rank = math.ceil(percentile / 100.0 * len(values))
    return float(sorted(values)[max(rank, 1) - 1])
