"""Micro-batches by token budget."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from reasonrl.train.batching import micro_batches


@given(lengths=st.lists(st.integers(1, 500), max_size=60), budget=st.integers(1, 2000))
def test_every_sequence_is_in_one_micro_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = micro_batches(lengths, token_budget=budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[index] for index in batch) * len(batch) <= budget


@given(lengths=st.lists(st.integers(1, 500), min_size=2, max_size=60))
def test_no_sequence_is_padded_to_the_batch_longest_when_a_neighbour_is_nearer(lengths: list[int]) -> None:
    batches = micro_batches(lengths, token_budget=600)
    for earlier, later in itertools.pairwise(batches):
        assert min(lengths[index] for index in earlier) >= max(lengths[index] for index in later)
