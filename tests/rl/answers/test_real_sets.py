"""Sets of real numbers against a second way to compute them: membership of sample points."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.rl.answers.comparison import same
from reasonrl.rl.answers.normalisation import normalise
from reasonrl.rl.answers.parsing import parse
from reasonrl.rl.answers.tokens import Notation

ends = st.integers(min_value=-4, max_value=4)
intervals = st.tuples(st.sampled_from("[("), ends, ends, st.sampled_from("])")).map(
    lambda parts: (parts[0], min(parts[1:3]), max(parts[1:3]) + 1, parts[3])
)
Interval = tuple[str, int, int, str]
SAMPLES = [number / 2 for number in range(-12, 14)]


def text_of(pieces: list[Interval]) -> str:
    return " \\cup ".join(f"{opening}{low}, {high}{closing}" for opening, low, high, closing in pieces)


def inequalities_of(pieces: list[Interval]) -> str:
    signs = {"[": "\\le", "(": "<", "]": "\\le", ")": "<"}
    return " \\text{ or } ".join(f"{low} {signs[opening]} x {signs[closing]} {high}" for opening, low, high, closing in pieces)


def members(pieces: list[Interval]) -> list[bool]:
    def within(number: float, piece: Interval) -> bool:
        opening, low, high, closing = piece
        return (low < number or (low == number and opening == "[")) and (number < high or (number == high and closing == "]"))

    return [any(within(number, piece) for piece in pieces) for number in SAMPLES]


def equal(first: str, second: str) -> bool:
    return same(*(parse(normalise(text), Notation.GROUPED) for text in (first, second)))


@settings(max_examples=150, deadline=None)
@given(st.lists(intervals, min_size=2, max_size=4), st.lists(intervals, min_size=2, max_size=4))
def test_unions_are_equal_exactly_when_they_have_the_same_members(first: list[Interval], second: list[Interval]) -> None:
    """Ends are whole numbers, so half steps show every difference."""
    assert equal(text_of(first), text_of(second)) == (members(first) == members(second))


@settings(max_examples=100, deadline=None)
@given(st.lists(intervals, min_size=1, max_size=4))
def test_inequalities_and_intervals_are_one_set(pieces: list[Interval]) -> None:
    assert equal(inequalities_of(pieces), text_of(pieces))
