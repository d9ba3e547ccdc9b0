"""Repetition on responses made by hand, and on ordinary text, where it must stay silent."""

from __future__ import annotations

import numpy as np
import pytest

from reasonrl.rl.repetition import (
    DUPLICATES,
    duplicate_paragraphs,
    ends_in_loop,
    is_repetitive,
    repetition_statistics,
)


def tokens(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def varied(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 50_000, length)


def test_repeated_and_distinct_ngrams_are_counted_by_hand() -> None:
    # 4-grams of 1 2 3 4 1 2 3 4: 1234 2341 3412 4123 1234, of which one is a repeat. Those of 5 6 7 8 9: two, both new.
    looping, fresh = tokens(1, 2, 3, 4, 1, 2, 3, 4), tokens(5, 6, 7, 8, 9)
    found = repetition_statistics([[(looping, ""), (fresh, "")]])
    assert found.repeated_ngrams == pytest.approx((1 / 5 + 0) / 2)
    assert found.distinct_ngrams == pytest.approx(6 / 7)


def test_one_answer_written_twice_is_half_as_distinct_and_no_repetition_of_itself() -> None:
    answer = tokens(1, 2, 3, 4, 5, 6)
    found = repetition_statistics([[(answer, ""), (answer, "")], [(tokens(7, 8, 9, 10), "")]])
    assert found.distinct_ngrams == pytest.approx((0.5 + 1.0) / 2)
    assert found.repeated_ngrams == 0.0


def test_what_is_too_short_says_nothing() -> None:
    found = repetition_statistics([[(tokens(1, 2, 3), "a"), (tokens(), "")]])
    assert (found.repeated_ngrams, found.distinct_ngrams, found.repetitive_share, found.duplicate_paragraphs) == (None, None, 0.0, 0.0)
    with pytest.raises(ValueError, match="at least one response"):
        repetition_statistics([])


@pytest.mark.parametrize(
    ("text", "duplicates"),
    [("a\n\nb\n\na", (1, 3)), ("a\n \n a \n\n\n\na", (2, 3)), ("a\nb\na", (0, 1)), ("", (0, 0)), ("\n\n\n\n", (0, 0))],
)
def test_paragraphs_are_parted_by_blank_lines(text: str, duplicates: tuple[int, int]) -> None:
    assert duplicate_paragraphs(text) == duplicates


@pytest.mark.parametrize("block", [1, 2, 7, 40, 200])
@pytest.mark.parametrize("before", [0, 100, 900])
@pytest.mark.parametrize("end", [(), (99_999,)], ids=["cut", "ended"])
def test_a_loop_at_the_end_is_found(block: int, before: int, end: tuple[int, ...]) -> None:
    turns = np.tile(varied(block, seed=2), 2000 // block)[: 2000 - block // 2]
    assert ends_in_loop(np.concatenate([varied(before, seed=1), turns, np.array(end, dtype=np.int64)]))


def test_neither_ordinary_text_nor_a_short_or_early_loop_is_one() -> None:
    assert not ends_in_loop(varied(2000))
    assert not ends_in_loop(np.tile(varied(3), 6))
    assert not ends_in_loop(np.concatenate([np.tile(varied(5), 50), varied(500)]))
    # The same form with other numbers each time is work and no loop.
    rows = [np.concatenate([tokens(10, 11, 12), varied(2, seed=row), tokens(13, 14)]) for row in range(60)]
    assert not ends_in_loop(np.concatenate(rows))


def test_most_paragraphs_or_very_many_of_them_make_a_response_repetitive() -> None:
    unlike = varied(200)
    assert is_repetitive(unlike, "\n\n".join(["so it is 4."] * 8))
    assert not is_repetitive(unlike, "\n\n".join(["so it is 4."] * 7))
    assert not is_repetitive(unlike, "\n\n".join([f"step {row // 2}" for row in range(20)]))
    many = [f"step {row}" for row in range(1000)] + ["again"] * (DUPLICATES + 1)
    assert not is_repetitive(unlike, "\n\n".join(many))
    assert is_repetitive(unlike, "\n\n".join([*many, "again"]))
