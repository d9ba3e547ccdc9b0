"""Which checkpoints stay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reasonrl.run.retention import RetentionRule, steps_to_delete


def test_the_last_few_stay() -> None:
    assert steps_to_delete({10: 1, 20: 1, 30: 1, 40: 1}, {}, RetentionRule(keep_last=2)) == [10, 20]


def test_the_best_stays_however_old() -> None:
    scores = {10: 0.9, 20: 0.1, 30: 0.2, 40: 0.3}
    assert steps_to_delete(dict.fromkeys(scores, 1), scores, RetentionRule(keep_last=1, keep_best=1)) == [20, 30]


def test_a_tie_goes_to_the_later_step() -> None:
    scores = {10: 0.5, 20: 0.5, 30: 0.1}
    assert steps_to_delete(dict.fromkeys(scores, 1), scores, RetentionRule(keep_last=1, keep_best=1)) == [10]


def test_the_byte_budget_takes_the_oldest_and_spares_the_best() -> None:
    sizes = {10: 4, 20: 4, 30: 4, 40: 4}
    rule = RetentionRule(keep_last=4, keep_best=1, max_bytes=9)
    assert steps_to_delete(sizes, {10: 0.9}, rule) == [20, 30]


def test_the_newest_stays_even_over_the_budget() -> None:
    assert steps_to_delete({10: 100, 20: 100}, {10: 0.9}, RetentionRule(keep_last=2, keep_best=1, max_bytes=50)) == [10]


@given(
    sizes=st.dictionaries(st.integers(0, 100), st.integers(1, 100), min_size=1),
    scored=st.dictionaries(st.integers(0, 100), st.floats(0, 1)),
    keep_last=st.integers(1, 5),
    keep_best=st.integers(0, 3),
    budget=st.none() | st.integers(1, 500),
)
def test_whatever_happens_the_newest_stays_and_the_budget_holds(sizes, scored, keep_last, keep_best, budget) -> None:
    scores = {step: score for step, score in scored.items() if step in sizes}
    rule = RetentionRule(keep_last=keep_last, keep_best=keep_best, max_bytes=budget)
    deleted = steps_to_delete(sizes, scores, rule)
    kept = set(sizes) - set(deleted)
    assert max(sizes) in kept
    assert len(kept) <= keep_last + keep_best
    if budget is not None and len(kept) > 1:
        assert sum(sizes[step] for step in kept) <= budget
    assert steps_to_delete({step: sizes[step] for step in kept}, scores, rule) == []
