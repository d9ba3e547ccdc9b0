"""Advantage estimators, by their name in the spec: rewards of groups in, one advantage for every token out.

A response that could not be scored, or that selection took out of the group statistics, is not `valid`: it leaves the baseline and has
no advantage. `ADVANTAGES` is the registry: a new estimator is one function and one line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardedGroup:
    """One group, ready for an estimator; every tuple has one entry for each response, in order.

    `rewards` are read where `valid` only. `lengths` are in tokens. `kl_penalties`, when KL is placed in the reward, are `[time]`
    tensors of coefficient × estimate, to be subtracted from the reward.
    """

    rewards: tuple[float | None, ...]
    valid: tuple[bool, ...]
    lengths: tuple[int, ...]
    kl_penalties: tuple[Tensor, ...] | None = None

    def __post_init__(self) -> None:
        sizes = {len(self.rewards), len(self.valid), len(self.lengths)}
        if self.kl_penalties is not None:
            sizes.add(len(self.kl_penalties))
        if len(sizes) != 1:
            raise ValueError(f"a group's rewards, valid, lengths and kl_penalties must be of one size, got {sorted(sizes)}")
        for index, (reward, valid) in enumerate(zip(self.rewards, self.valid, strict=True)):
            if valid and (reward is None or not math.isfinite(reward)):
                raise ValueError(f"response {index} counts in the group statistics but its reward is {reward}: mark it as not valid")


AdvantageEstimator = Callable[[Sequence[RewardedGroup], float], list[list[Tensor]]]
"""`(groups, epsilon) -> advantages`: float32 `[time]` for each response of each group; zeros where a response has no advantage."""


def grpo(groups: Sequence[RewardedGroup], epsilon: float) -> list[list[Tensor]]:
    """`(r − mean) / (std + ε)` with the unbiased standard deviation of the group (DeepSeekMath, arXiv 2402.03300, section 4.1.2).

    Zero in a group whose rewards are all equal, or with fewer than two valid responses.
    """
    return [_per_token(group, _centred(group, lambda values: _z_scores(values, epsilon))) for group in groups]


def dr_grpo(groups: Sequence[RewardedGroup], epsilon: float) -> list[list[Tensor]]:
    """`r − mean` (Dr. GRPO, arXiv 2503.20783, section 3.2). `epsilon` is unused."""
    return [_per_token(group, _centred(group, _differences)) for group in groups]


def rloo(groups: Sequence[RewardedGroup], epsilon: float) -> list[list[Tensor]]:
    """`r − mean of the others` (leave-one-out, arXiv 2402.14740, section 3.2). `epsilon` is unused."""
    return [_per_token(group, _centred(group, _leave_one_out)) for group in groups]


def reinforce_plus_plus(groups: Sequence[RewardedGroup], epsilon: float) -> list[list[Tensor]]:
    """Token returns `Σ_{s≥t} (1[s = T]·r − penalty_s)`, whitened over all valid tokens of the batch (arXiv 2501.03262).

    No group baseline, so a group may have a single response.
    """
    return _whitened([_returns(group) for group in groups], [group.valid for group in groups], epsilon)


def reinforce_plus_plus_baseline(groups: Sequence[RewardedGroup], epsilon: float) -> list[list[Tensor]]:
    """`r − group mean` on every token, then whitened over all valid tokens of the batch (arXiv 2501.03262, the -baseline variant).

    The whitening subtracts the batch mean, so even a group of equal rewards has a (small) advantage unless the whole batch is equal.
    """
    counted = [group.valid if sum(group.valid) >= 2 else (False,) * len(group.valid) for group in groups]
    return _whitened([_per_token(group, _centred(group, _differences)) for group in groups], counted, epsilon)


def _final_reward(group: RewardedGroup, index: int) -> float:
    reward = group.rewards[index]
    if reward is None:
        raise ValueError(f"response {index} has no reward")
    return reward


def _sequence_reward(group: RewardedGroup, index: int) -> float:
    """The reward less the whole response's KL penalty."""
    reward = _final_reward(group, index)
    return reward if group.kl_penalties is None else reward - float(group.kl_penalties[index].sum(dtype=torch.float64))


def _centred(group: RewardedGroup, centre: Callable[[Tensor], Tensor]) -> list[float]:
    """One number for each response: `centre` of the valid rewards, 0 for the others and where a group can say nothing."""
    counted = [index for index, valid in enumerate(group.valid) if valid]
    values = torch.tensor([_sequence_reward(group, index) for index in counted], dtype=torch.float64)
    advantages = [0.0] * len(group.rewards)
    # Rounding in the mean of equal rewards, divided by a tiny std + ε, would not be zero.
    if len(counted) < 2 or bool((values == values[0]).all()):
        return advantages
    for index, advantage in zip(counted, centre(values).tolist(), strict=True):
        advantages[index] = advantage
    return advantages


def _differences(values: Tensor) -> Tensor:
    return values - values.mean()


def _z_scores(values: Tensor, epsilon: float) -> Tensor:
    return (values - values.mean()) / (values.std() + epsilon)


def _leave_one_out(values: Tensor) -> Tensor:
    others = (values.sum() - values) / (values.numel() - 1)
    return values - others


def _per_token(group: RewardedGroup, advantages: Sequence[float]) -> list[Tensor]:
    return [torch.full((length,), advantage) for length, advantage in zip(group.lengths, advantages, strict=True)]


def _returns(group: RewardedGroup) -> list[Tensor]:
    returns = []
    for index, (valid, length) in enumerate(zip(group.valid, group.lengths, strict=True)):
        rewards = torch.zeros(length, dtype=torch.float64)
        if valid and length:
            if group.kl_penalties is not None:
                rewards -= group.kl_penalties[index]
            rewards[-1] += _final_reward(group, index)
        returns.append(rewards.flip(0).cumsum(0).flip(0))
    return returns


def _whitened(advantages: Sequence[Sequence[Tensor]], counted: Sequence[Sequence[bool]], epsilon: float) -> list[list[Tensor]]:
    """`(A − mean) / (std + ε)` with the unbiased standard deviation, over the tokens of all `counted` responses; 0 for the others."""
    pairs = [list(zip(group, valid, strict=True)) for group, valid in zip(advantages, counted, strict=True)]
    tokens = [values for group in pairs for values, valid in group if valid]
    batch = torch.cat(tokens).to(torch.float64) if tokens else torch.zeros(0, dtype=torch.float64)
    if batch.numel() < 2 or bool((batch == batch[0]).all()):
        return [[torch.zeros(values.numel()) for values, _ in group] for group in pairs]
    mean, scale = batch.mean(), batch.std() + epsilon
    return [
        [((values - mean) / scale).to(torch.float32) if valid else torch.zeros(values.numel()) for values, valid in group]
        for group in pairs
    ]


ADVANTAGES: Mapping[str, AdvantageEstimator] = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "reinforce_plus_plus": reinforce_plus_plus,
    "reinforce_plus_plus_baseline": reinforce_plus_plus_baseline,
}
