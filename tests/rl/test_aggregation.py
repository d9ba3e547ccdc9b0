"""Token weights: closed forms, and a gradient that does not know how the update was cut."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reasonrl.rl.aggregation import AGGREGATIONS, StepCounts, step_counts, token_weights
from reasonrl.rl.logprobs import fused_head_loss
from reasonrl.rl.losses import ClipSetting, clip_loss

MASKS = [torch.tensor([1.0, 1.0, 0.0, 1.0]), torch.tensor([1.0]), torch.tensor([0.0, 0.0])]


def test_token_mean_divides_by_all_tokens() -> None:
    weights = token_weights(MASKS, kind="tokenMean", constant_length=7)
    torch.testing.assert_close(weights, [mask / 4 for mask in MASKS])


def test_sequence_mean_is_a_mean_of_means_over_the_sequences_that_learn() -> None:
    weights = token_weights(MASKS, kind="sequenceMean", constant_length=7)
    torch.testing.assert_close(weights, [MASKS[0] / 3 / 2, MASKS[1] / 2, torch.zeros(2)])


def test_constant_divides_by_all_sequences_and_the_constant() -> None:
    weights = token_weights(MASKS, kind="constant", constant_length=7)
    torch.testing.assert_close(weights, [mask / (3 * 7) for mask in MASKS])


@pytest.mark.parametrize("kind", sorted(AGGREGATIONS))
def test_nothing_to_learn_weighs_nothing(kind: str) -> None:
    assert token_weights([], kind=kind, constant_length=5) == []
    torch.testing.assert_close(token_weights([torch.zeros(3)], kind=kind, constant_length=5), [torch.zeros(3)])


def test_unknown_kind_and_bad_length_are_refused() -> None:
    with pytest.raises(ValueError, match="use one of tokenMean, sequenceMean, constant"):
        token_weights(MASKS, kind="mean", constant_length=7)
    with pytest.raises(ValueError, match="at least 1 token"):
        token_weights(MASKS, kind="constant", constant_length=0)


@settings(deadline=None, max_examples=40)
@given(data=st.data(), kind=st.sampled_from(sorted(AGGREGATIONS)))
def test_ranks_that_add_their_counts_weigh_as_one(data: st.DataObject, kind: str) -> None:
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=8))
    masks = [torch.tensor(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n))) for n in lengths]
    cut = data.draw(st.integers(0, len(masks)))
    whole = token_weights(masks, kind=kind, constant_length=9)
    counts = step_counts(masks[:cut]) + step_counts(masks[cut:])
    assert counts == step_counts(masks)
    ranks = [token_weights(part, kind=kind, constant_length=9, counts=counts) for part in (masks[:cut], masks[cut:])]
    torch.testing.assert_close(list(itertools.chain(*ranks)), whole)


def test_counts_of_a_part_are_not_those_of_the_whole() -> None:
    assert step_counts(MASKS) == StepCounts(tokens=4, sequences=3, learning_sequences=2)
    assert not torch.equal(
        token_weights(MASKS[1:2], kind="tokenMean", constant_length=1)[0], token_weights(MASKS, kind="tokenMean", constant_length=1)[1]
    )


@settings(deadline=None, max_examples=25)
@given(data=st.data(), kind=st.sampled_from(sorted(AGGREGATIONS)))
def test_gradient_does_not_depend_on_the_cut_into_micro_batches(data: st.DataObject, kind: str) -> None:
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=7))
    order = data.draw(st.permutations(range(len(lengths))))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(lengths) - 1))))
    chunk = data.draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    hidden = [torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in lengths]
    targets = [torch.randint(0, 6, (n,), generator=generator) for n in lengths]
    old = [-torch.rand(n, generator=generator, dtype=torch.float64) * 3 for n in lengths]
    advantages = [torch.randn(n, generator=generator, dtype=torch.float64) for n in lengths]
    masks = [(torch.rand(n, generator=generator) < 0.7).float() for n in lengths]
    weight = torch.randn(6, 4, generator=generator, dtype=torch.float64).requires_grad_()
    weights = token_weights(masks, kind=kind, constant_length=5)

    def gradient(micro_batches: list[list[int]]) -> Tensor:
        weight.grad = None
        for rows in micro_batches:

            def loss(logprobs: Tensor, entropy: Tensor, part: slice, rows: list[int] = rows) -> Tensor:
                pick = [torch.cat([values[row] for row in rows])[part] for values in (old, advantages, masks, weights)]
                ids = torch.zeros(logprobs.numel(), dtype=torch.long)
                return (pick[3] * clip_loss(logprobs, pick[0], pick[1], pick[2], ids, ClipSetting(low=0.2, high=0.3)).loss).sum()

            fused_head_loss(
                torch.cat([hidden[row] for row in rows]),
                weight,
                torch.cat([targets[row] for row in rows]),
                temperature=1.0,
                chunk_tokens=chunk,
                loss_of_chunk=loss,
            ).loss.backward()
        assert weight.grad is not None
        return weight.grad.clone()

    starts = [0, *cuts]
    parts = [list(order[start:stop]) for start, stop in zip(starts, [*cuts, len(order)], strict=True)]
    torch.testing.assert_close(gradient(parts), gradient([list(range(len(lengths)))]), rtol=1e-9, atol=1e-12)
