"""When a phase ends, and what it says about why."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.api.phase_spec import UntilSpec
from reasonrl.api.phase_trigger import StepSignals, length_percentile, phase_end_reason


def until(**fields: object) -> UntilSpec:
    return UntilSpec.model_validate(fields)


def signals(
    count: int, *, truncated: float = 0.0, percentile: float = 100.0, mean: float = 50.0, accuracy: float | None = 0.5
) -> list[StepSignals]:
    return [
        StepSignals(truncated_share=truncated, response_length_percentile=percentile, response_length_mean=mean, accuracy=accuracy)
    ] * count


def test_a_number_of_steps() -> None:
    assert phase_end_reason(signals(9), until(steps=10)) is None
    assert phase_end_reason(signals(10), until(steps=10)) == "10 steps are done (steps: 10)"
    assert phase_end_reason(signals(11), until(maxSteps=10)) == "11 steps are done (maxSteps: 10)"


def test_a_phase_that_just_began_goes_on() -> None:
    assert (
        phase_end_reason([], until(steps=1, truncatedShare={}, responseLength={"above": 1}, accuracyPlateau={}, lengthPlateau={})) is None
    )


def test_truncation_must_last() -> None:
    rule = until(maxSteps=999, truncatedShare={"above": 0.06, "forSteps": 3})
    high, low = signals(1, truncated=0.07), signals(1, truncated=0.06)
    assert phase_end_reason(high * 2, rule) is None
    assert phase_end_reason(high * 2 + low + high * 2, rule) is None
    reason = phase_end_reason(low + high * 3, rule)
    assert reason == "the truncated share was above 0.06 for 3 steps (last 0.07)"


def test_response_length_must_last() -> None:
    rule = until(maxSteps=999, responseLength={"percentile": 90, "above": 7000, "forSteps": 2})
    assert phase_end_reason(signals(5, percentile=7000), rule) is None
    reason = phase_end_reason(signals(5, percentile=7000) + signals(2, percentile=7500), rule)
    assert reason == "percentile 90 of the response length was above 7000 tokens for 2 steps (last 7500)"


@pytest.mark.parametrize(("recent", "ends"), [(0.50, True), (0.509, True), (0.511, False), (0.4, True)])
def test_accuracy_that_no_longer_rises(recent: float, ends: bool) -> None:
    rule = until(maxSteps=999, accuracyPlateau={"window": 4, "minGain": 0.01})
    assert (phase_end_reason(signals(4, accuracy=0.5) + signals(4, accuracy=recent), rule) is not None) is ends


def test_a_plateau_needs_two_whole_windows() -> None:
    assert phase_end_reason(signals(7), until(maxSteps=999, accuracyPlateau={"window": 4})) is None
    assert phase_end_reason(signals(8), until(maxSteps=999, accuracyPlateau={"window": 4})) is not None


def test_steps_without_accuracy_do_not_count_for_its_plateau() -> None:
    rule = until(maxSteps=999, accuracyPlateau={"window": 2})
    assert phase_end_reason(signals(3) + signals(50, accuracy=None), rule) is None
    assert phase_end_reason(signals(3) + signals(50, accuracy=None) + signals(1), rule) is not None


@pytest.mark.parametrize(("recent", "ends"), [(100.0, True), (101.9, True), (102.1, False)])
def test_length_that_no_longer_rises_is_measured_as_a_share(recent: float, ends: bool) -> None:
    rule = until(maxSteps=999, lengthPlateau={"window": 3, "minGain": 0.02})
    assert (phase_end_reason(signals(3, mean=100.0) + signals(3, mean=recent), rule) is not None) is ends


def test_the_trigger_and_not_the_bound_is_named_when_both_hold() -> None:
    reason = phase_end_reason(signals(20, truncated=0.5), until(maxSteps=20, truncatedShare={"forSteps": 20}))
    assert reason is not None
    assert "truncated" in reason


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=300), st.floats(0.1, 100.0))
def test_percentiles_are_those_of_numpys_nearest_rank(lengths: list[int], percentile: float) -> None:
    assert length_percentile(lengths, percentile) == numpy.percentile(lengths, percentile, method="inverted_cdf")


def test_the_percentile_of_nothing_is_zero() -> None:
    assert length_percentile([], 95.0) == 0.0
