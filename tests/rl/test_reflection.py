from __future__ import annotations

import pytest

from reasonrl.rl.reflection import keyword_counts, reflection_statistics


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("Wait, let me verify. WAIT!", {"self_verification": 1, "self_reflection": 2, "self_correction": 0}),
        (
            "I verified and waited; it is incorrect, correctly adjusted.",
            {"self_verification": 0, "self_reflection": 0, "self_correction": 0},
        ),
        ("double check, Double-check, double\n check, doublecheck", {"self_verification": 3, "self_reflection": 0, "self_correction": 0}),
        ("However_ (however) correct", {"self_verification": 0, "self_reflection": 1, "self_correction": 1}),
        ("", {"self_verification": 0, "self_reflection": 0, "self_correction": 0}),
    ],
)
def test_keywords_are_whole_words_of_any_case(text: str, hits: dict[str, int]) -> None:
    assert keyword_counts(text) == hits


def test_share_counts_responses_and_rate_counts_hits() -> None:
    found = reflection_statistics(["wait wait wait", "confirm", "nothing", "wait"], response_tokens=200)
    assert found.share == {"self_verification": 0.25, "self_reflection": 0.5, "self_correction": 0.0}
    assert found.per_1000_tokens == {"self_verification": 5.0, "self_reflection": 20.0, "self_correction": 0.0}


def test_words_can_be_replaced() -> None:
    assert keyword_counts("but C++ is (sic) fine", {"doubt": ["but", "(sic)", "c++"]}) == {"doubt": 3}


def test_no_responses_have_no_reflection() -> None:
    found = reflection_statistics([], response_tokens=0)
    assert set(found.share.values()) == set(found.per_1000_tokens.values()) == {0.0}


def test_an_empty_keyword_is_refused() -> None:
    with pytest.raises(ValueError, match="category 'doubt'"):
        keyword_counts("text", {"doubt": [" "]})
