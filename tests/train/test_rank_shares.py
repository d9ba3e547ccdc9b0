"""Shares of ranks, and their micro-batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reasonrl.train.batching import micro_batches
from reasonrl.train.rank_shares import micro_batches_of_ranks, owners, rank_shares

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=60)


@given(lengths=LENGTHS, ranks=st.integers(1, 9))
def test_every_sequence_has_one_rank_and_none_carries_much_more_than_another(lengths: list[int], ranks: int) -> None:
    shares = rank_shares(lengths, ranks=ranks)
    assert sorted(index for share in shares for index in share) == list(range(len(lengths)))
    loads = [sum(lengths[index] for index in share) for share in shares]
    assert max(loads) - min(loads) <= max(lengths)


@given(lengths=LENGTHS, ranks=st.integers(1, 9), budget=st.integers(1, 2000))
def test_ranks_make_the_same_number_of_micro_batches_within_the_budget(lengths: list[int], ranks: int, budget: int) -> None:
    cuts = micro_batches_of_ranks(lengths, ranks=ranks, token_budget=budget)
    assert len(cuts) == ranks
    assert len({len(parts) for parts in cuts}) == 1
    assert sorted(index for parts in cuts for part in parts for index in part) == list(range(len(lengths)))
    assert all(len(part) <= 1 or max(lengths[index] for index in part) * len(part) <= budget for parts in cuts for part in parts)
    assert any(parts[-1] for parts in cuts), "no micro-batch is padding on every rank"


@given(lengths=LENGTHS, budget=st.integers(1, 2000))
def test_one_rank_cuts_as_a_trainer_without_ranks(lengths: list[int], budget: int) -> None:
    assert micro_batches_of_ranks(lengths, ranks=1, token_budget=budget) == [micro_batches(lengths, token_budget=budget)]


def test_names_are_shared_out_by_size() -> None:
    assert owners({"head": 60, "embedding": 60, "gate": 30, "up": 30, "norm": 1}, ranks=2) == {
        "head": 0,
        "embedding": 1,
        "gate": 0,
        "up": 1,
        "norm": 0,
    }
