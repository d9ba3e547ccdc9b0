from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.report.smoothing import default_window, smoothed, thinned


def test_a_ramp_lags_by_the_closed_form():
    """For x = t the mean of the ages under weights wᵃ, a = 0…t, is w/(1 − w) − (t + 1)·wᵗ⁺¹/(1 − wᵗ⁺¹)."""
    window, w = 9, 8 / 10
    found = smoothed([float(t) for t in range(60)], window)
    for t, value in enumerate(found):
        age = w / (1 - w) - (t + 1) * w ** (t + 1) / (1 - w ** (t + 1))
        assert value == pytest.approx(t - age)
    assert 59 - found[-1] == pytest.approx((window - 1) / 2, abs=1e-3)


def test_an_impulse_decays_by_the_closed_form():
    w = 4 / 6
    found = smoothed([1.0] + [0.0] * 20, 5)
    for t, value in enumerate(found):
        assert value == pytest.approx(w**t * (1 - w) / (1 - w ** (t + 1)))


@given(st.lists(st.none() | st.floats(-100, 100), max_size=40), st.integers(1, 30))
def test_it_is_the_weighted_mean_of_the_known_past(values, window):
    w = (window - 1) / (window + 1)
    for t, value in enumerate(smoothed(values, window)):
        if values[t] is None:
            assert value is None
            continue
        known = [(w ** (t - i), x) for i, x in enumerate(values[: t + 1]) if x is not None]
        assert value == pytest.approx(np.average([x for _, x in known], weights=[weight for weight, _ in known]), abs=1e-9)


@given(st.lists(st.none() | st.floats(-100, 100), max_size=40), st.integers(1, 30), st.integers(0, 40))
def test_after_a_break_it_is_as_if_nothing_came_before(values, window, place):
    assert smoothed(values, window, breaks={place})[place:] == smoothed(values[place:], window)


def test_window_one_changes_nothing_and_zero_is_refused():
    assert smoothed([3.0, None, 5.0], 1) == [3.0, None, 5.0]
    with pytest.raises(ValueError, match="at least 1 step, not 0"):
        smoothed([1.0], 0)


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=400), st.integers(4, 60))
def test_thinning_keeps_the_extremes_and_the_ends(values, points):
    kept = thinned(values, points)
    assert len(kept) <= max(points, 4)
    assert kept == sorted(set(kept))
    if values:
        assert {0, len(values) - 1} <= set(kept)
    known = [value for value in values if value is not None]
    if known:
        drawn = [values[i] for i in kept if values[i] is not None]
        assert (min(drawn), max(drawn)) == (min(known), max(known))


def test_the_default_window_grows_with_the_run_between_bounds():
    assert [default_window(steps) for steps in (1, 200, 10_000)] == [5, 10, 50]
