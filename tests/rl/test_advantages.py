"""Advantage estimators against the papers' formulas, computed with statistics from the standard library."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reasonrl.rl.advantages import ADVANTAGES, RewardedGroup

GROUP_ESTIMATORS = ["grpo", "dr_grpo", "rloo"]
EPSILON = 1e-6

rewards_of_a_group = st.lists(st.one_of(st.none(), st.floats(-3.0, 3.0).map(lambda value: round(value, 3))), min_size=1, max_size=6)


def group(
    rewards: Sequence[float | None], lengths: Sequence[int] | None = None, penalties: Sequence[Sequence[float]] | None = None
) -> RewardedGroup:
    return RewardedGroup(
        rewards=tuple(rewards),
        valid=tuple(reward is not None for reward in rewards),
        lengths=tuple(lengths if lengths is not None else [2] * len(rewards)),
        kl_penalties=None if penalties is None else tuple(torch.tensor(each) for each in penalties),
    )


def first_tokens(name: str, groups: Sequence[RewardedGroup], epsilon: float = EPSILON) -> list[list[float]]:
    return [[float(tokens[0]) for tokens in each] for each in ADVANTAGES[name](groups, epsilon)]


def test_grpo_is_the_z_score_of_the_group() -> None:
    rewards = [1.0, 0.0, 0.0, 0.5]
    mean, std = statistics.mean(rewards), statistics.stdev(rewards)
    expected = [(reward - mean) / (std + 0.1) for reward in rewards]
    assert first_tokens("grpo", [group(rewards)], epsilon=0.1)[0] == pytest.approx(expected)


def test_dr_grpo_subtracts_the_mean_alone() -> None:
    assert first_tokens("dr_grpo", [group([1.0, 0.0, 0.5])])[0] == pytest.approx([0.5, -0.5, 0.0])


def test_rloo_leaves_each_response_out_of_its_own_baseline() -> None:
    rewards = [1.0, 0.0, 0.5, 0.25]
    expected = [reward - statistics.mean(rewards[:index] + rewards[index + 1 :]) for index, reward in enumerate(rewards)]
    assert first_tokens("rloo", [group(rewards)])[0] == pytest.approx(expected)


def test_reinforce_plus_plus_whitens_token_returns_over_the_batch() -> None:
    groups = [group([1.0], [3], [[0.1, 0.2, 0.3]]), group([-1.0], [2], [[0.0, 0.5]])]
    returns = [1.0 - 0.6, 1.0 - 0.5, 1.0 - 0.3, -1.0 - 0.5, -1.0 - 0.5]
    mean, std = statistics.mean(returns), statistics.stdev(returns)
    found = ADVANTAGES["reinforce_plus_plus"](groups, EPSILON)
    assert torch.cat([found[0][0], found[1][0]]).tolist() == pytest.approx([(each - mean) / (std + EPSILON) for each in returns])


def test_reinforce_plus_plus_baseline_centres_by_group_and_whitens_over_tokens() -> None:
    groups = [group([1.0, 0.0], [3, 1]), group([2.0, 2.0, 5.0], [1, 2, 2])]
    centred = [[0.5, -0.5], [-1.0, -1.0, 2.0]]
    tokens = [
        value for each, values in zip(groups, centred, strict=True) for value, n in zip(values, each.lengths, strict=True) for _ in range(n)
    ]
    mean, std = statistics.mean(tokens), statistics.stdev(tokens)
    found = first_tokens("reinforce_plus_plus_baseline", groups)
    assert found[0] == pytest.approx([(value - mean) / (std + EPSILON) for value in centred[0]])
    assert found[1] == pytest.approx([(value - mean) / (std + EPSILON) for value in centred[1]])


@pytest.mark.parametrize("name", sorted(ADVANTAGES))
def test_every_response_has_one_float32_advantage_a_token(name: str) -> None:
    found = ADVANTAGES[name]([group([1.0, 0.0, None], [3, 0, 5]), group([0.0, 1.0], [1, 2])], EPSILON)
    assert [[tokens.numel() for tokens in each] for each in found] == [[3, 0, 5], [1, 2]]
    assert all(tokens.dtype == torch.float32 for each in found for tokens in each)


@pytest.mark.parametrize("name", [*GROUP_ESTIMATORS, "reinforce_plus_plus", "reinforce_plus_plus_baseline"])
@pytest.mark.parametrize("reward", [0.1, 1.0 / 3.0, -1e8])
def test_equal_rewards_give_exactly_zero(name: str, reward: float) -> None:
    found = ADVANTAGES[name]([group([reward] * 3, [4, 5, 6]), group([reward] * 3)], EPSILON)
    assert all(not tokens.any() for each in found for tokens in each)


@pytest.mark.parametrize("name", [*GROUP_ESTIMATORS, "reinforce_plus_plus_baseline"])
def test_a_group_with_fewer_than_two_valid_responses_has_no_advantage(name: str) -> None:
    groups = [group([5.0, None, None]), group([None, None]), group([1.0, 0.0])]
    found = ADVANTAGES[name](groups, EPSILON)
    assert all(not tokens.any() for each in found[:2] for tokens in each)
    alone = ADVANTAGES[name](groups[2:], EPSILON)
    torch.testing.assert_close(found[2], alone[0], msg="a group that says nothing must not move the batch statistics either")
    assert all(tokens.all() for tokens in found[2])


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(sorted(ADVANTAGES)), batch=st.lists(rewards_of_a_group, min_size=1, max_size=4), data=st.data())
def test_an_unscored_response_is_as_if_it_had_not_been_sampled(name: str, batch: list[list[float | None]], data: st.DataObject) -> None:
    lengths = [[data.draw(st.integers(1, 4)) for _ in rewards] for rewards in batch]
    with_unscored = ADVANTAGES[name]([group(rewards, n) for rewards, n in zip(batch, lengths, strict=True)], EPSILON)
    scored = [
        [(reward, n) for reward, n in zip(rewards, sizes, strict=True) if reward is not None]
        for rewards, sizes in zip(batch, lengths, strict=True)
    ]
    without = ADVANTAGES[name]([group([reward for reward, _ in pairs], [n for _, n in pairs]) for pairs in scored], EPSILON)
    for rewards, mixed, clean in zip(batch, with_unscored, without, strict=True):
        counted = [tokens for reward, tokens in zip(rewards, mixed, strict=True) if reward is not None]
        torch.testing.assert_close(counted, clean, rtol=0.0, atol=0.0)
        assert all(not tokens.any() for reward, tokens in zip(rewards, mixed, strict=True) if reward is None)


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(GROUP_ESTIMATORS), rewards=st.lists(st.floats(-5.0, 5.0), min_size=2, max_size=8), shift=st.floats(-100.0, 100.0)
)
def test_group_advantages_sum_to_zero_and_ignore_a_constant(name: str, rewards: list[float], shift: float) -> None:
    assume(statistics.stdev(rewards) > 1e-2)
    found = first_tokens(name, [group(rewards)])[0]
    assert sum(found) == pytest.approx(0.0, abs=1e-4)
    assert first_tokens(name, [group([reward + shift for reward in rewards])])[0] == pytest.approx(found, rel=1e-3, abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(["reinforce_plus_plus", "reinforce_plus_plus_baseline"]),
    batch=st.lists(rewards_of_a_group, min_size=2, max_size=4),
)
def test_whitened_advantages_have_mean_zero_and_unit_spread_over_tokens(name: str, batch: list[list[float | None]]) -> None:
    if name == "reinforce_plus_plus_baseline":
        batch = [rewards for rewards in batch if sum(reward is not None for reward in rewards) >= 2]
    groups = [group(rewards, range(1, len(rewards) + 1)) for rewards in batch]
    found = ADVANTAGES[name](groups, 0.0)
    pairs = itertools.chain.from_iterable(zip(each.valid, tokens, strict=True) for each, tokens in zip(groups, found, strict=True))
    counted = [tokens for valid, tokens in pairs if valid]
    assume(len(counted) > 0 and torch.cat(counted).any())
    batch_tokens = torch.cat(counted).double()
    assert float(batch_tokens.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(batch_tokens.std()) == pytest.approx(1.0, rel=1e-4)


def test_kl_in_the_reward_of_a_group_is_the_sum_over_the_response() -> None:
    penalties = [[0.1, 0.2], [0.0, 0.5]]
    found = first_tokens("dr_grpo", [group([1.0, 1.0], [2, 2], penalties)])[0]
    assert found == pytest.approx([0.1, -0.1])


def test_a_reward_that_counts_must_be_a_number() -> None:
    with pytest.raises(ValueError, match="response 1 counts in the group statistics but its reward is nan"):
        RewardedGroup(rewards=(1.0, float("nan")), valid=(True, True), lengths=(1, 1))
    with pytest.raises(ValueError, match="reward is None"):
        RewardedGroup(rewards=(None,), valid=(True,), lengths=(1,))
    with pytest.raises(ValueError, match="one size"):
        RewardedGroup(rewards=(1.0,), valid=(True, True), lengths=(1, 1))


def test_a_scored_response_may_be_kept_out_of_the_statistics() -> None:
    masked = RewardedGroup(rewards=(1.0, 0.0, -9.0), valid=(True, True, False), lengths=(1, 1, 1))
    assert first_tokens("dr_grpo", [masked])[0] == pytest.approx([0.5, -0.5, 0.0])
