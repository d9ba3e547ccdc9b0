from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.run.telemetry.wording import duration, number, percent, sparkline


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0.000"), (0.5, "0.500"), (-0.25, "-0.250"), (12345.6, "12,346"), (0.00012, "0.00012"), (1e-6, "1e-06")],
)
def test_number(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.2, "0 s"), (59.0, "59 s"), (99.6, "2 min"), (3600.0, "60 min"), (7260.0, "2 h 01 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_percent():
    assert percent(0.12345) == "12.3 %"
    assert percent(None) == "–"


def test_a_sparkline_goes_from_least_to_greatest_with_blanks_where_nothing_is_known():
    assert sparkline([0.0, None, 7.0], 10) == "▁ █"
    assert sparkline([0.0, 0.0, 7.0, 7.0], 2) == "▁█"
    assert sparkline([3.0, 3.0], 5) == "▄▄"
    assert sparkline([None], 5) == ""


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=50), st.integers(0, 60))
def test_a_sparkline_is_never_wider_than_asked(values, width):
    assert len(sparkline(values, width)) <= width
