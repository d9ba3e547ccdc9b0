"""From graded groups to what the trainer learns from: selection, advantages, and the cut into updates.

Everything that knows of groups and rewards ends here; the trainer sees sequences with advantages and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from reasonrl.rl.advantages import ADVANTAGES, RewardedGroup
from reasonrl.rl.kl import KLTerm, estimates, kl_estimate
from reasonrl.rl.records import GradedGroup, Response
from reasonrl.rl.selection import SelectionResult, SelectionRule, select
from reasonrl.train.protocol import TrainingSequence, UpdateStats

NO_UPDATE = UpdateStats(
    loss=0.0, entropy=0.0, clip_fraction=0.0, gradient_norm=0.0, sampler_gap_mean=0.0, sampler_gap_max=0.0, updates=0, tokens=0
)
"""What a step without anything to learn from comes to. The trainer is not asked: its optimizer would move the weights even by a gradient
of zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRules:
    """What is fixed for a run. `estimator` is a name in `rl.advantages.ADVANTAGES`; `updates_per_step` divides the groups of a step;
    `epochs` passes are made over them."""

    estimator: str
    epsilon: float
    selection: tuple[SelectionRule, ...]
    updates_per_step: int
    epochs: int
    kl: KLTerm | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningBatch:
    """`updates` has the sequences of each optimizer update. Those without a response to learn from are not in it: `skipped_updates` counts
    them. `kl` means over all response tokens of the step (nats), by estimator, or None without a reference. `dropped` counts the
    responses that each selection rule took out of the gradient, `kept` those that were left after it; `empty_questions` are those
    without a response in the gradient."""

    updates: list[list[TrainingSequence]]
    kept_responses: int
    kl: Mapping[str, float] | None
    dropped: Mapping[str, int]
    kept: Mapping[str, int]
    skipped_updates: int
    empty_questions: int


ReferenceLogprobs = Callable[[Sequence[TrainingSequence]], list[torch.Tensor]]


def learning_batch(
    graded: Sequence[GradedGroup], rules: BatchRules, *, kl_coefficient: float, reference: ReferenceLogprobs | None
) -> LearningBatch:
    """`reference` None means that the run holds no reference model."""
    selected = select(graded, rules.selection)
    sequences = [[_sequence(each, response) for response in each.group.responses] for each in graded]
    flat = [sequence for group in sequences for sequence in group]
    kl = None
    if reference is not None and rules.kl is not None:
        for sequence, logprobs in zip(flat, reference(flat), strict=True):
            sequence.reference_logprobs = logprobs
        kl = _mean_kl(flat, clamp=rules.kl.clamp)
    _set_advantages(graded, sequences, selected, rules, kl_coefficient=kl_coefficient)
    cuts = _updates(sequences, rules)
    updates = [cut for cut in cuts if any(sequence.mask.any() for sequence in cut)]
    return LearningBatch(
        updates=updates,
        kept_responses=sum(int(bool(sequence.mask.any())) for sequence in flat),
        kl=kl,
        dropped=selected.dropped,
        kept=selected.kept,
        skipped_updates=len(cuts) - len(updates),
        empty_questions=sum(not any(sequence.mask.any() for sequence in group) for group in sequences),
    )


def _sequence(each: GradedGroup, response: Response) -> TrainingSequence:
    prompt = torch.tensor(each.group.prompt.tokens, dtype=torch.long)
    length = int(response.tokens.numel())
    return TrainingSequence(
        tokens=torch.cat([prompt, response.tokens]),
        prompt_length=int(prompt.numel()),
        advantages=torch.zeros(length),
        mask=torch.zeros(length),
        sampler_logprobs=response.sampler_logprobs,
    )


def _set_advantages(
    graded: Sequence[GradedGroup],
    sequences: Sequence[Sequence[TrainingSequence]],
    selected: SelectionResult,
    rules: BatchRules,
    *,
    kl_coefficient: float,
) -> None:
    rewarded = [
        RewardedGroup(
            rewards=tuple(grade.reward for grade in each.grades),
            valid=tuple(grade.reward is not None and counts for grade, counts in zip(each.grades, statistics, strict=True)),
            lengths=tuple(sequence.response_length for sequence in group),
            kl_penalties=_penalties(group, rules.kl, kl_coefficient),
        )
        for each, group, statistics in zip(graded, sequences, selected.in_statistics, strict=True)
    ]
    advantages = ADVANTAGES[rules.estimator](rewarded, rules.epsilon)
    for index, group in enumerate(sequences):
        for place, sequence in enumerate(group):
            if rewarded[index].valid[place] and selected.in_gradient[index][place]:
                sequence.advantages = advantages[index][place]
                sequence.mask = torch.ones(sequence.response_length)


def _penalties(group: Sequence[TrainingSequence], kl: KLTerm | None, coefficient: float) -> tuple[torch.Tensor, ...] | None:
    """KL in the reward: coefficient × estimate at each sampled token, of the policy that sampled it."""
    if kl is None or kl.placement != "reward" or coefficient == 0.0:
        return None
    penalties = []
    for sequence in group:
        if sequence.reference_logprobs is None:
            raise ValueError("KL is placed in the reward, but the run holds no reference model")
        penalties.append(coefficient * kl_estimate(sequence.sampler_logprobs, sequence.reference_logprobs, kl).detach())
    return tuple(penalties)


def _mean_kl(sequences: Sequence[TrainingSequence], *, clamp: float) -> dict[str, float]:
    pairs = [(each.sampler_logprobs, each.reference_logprobs) for each in sequences if each.reference_logprobs is not None]
    found = estimates(torch.cat([mine for mine, _ in pairs]), torch.cat([theirs for _, theirs in pairs]), clamp=clamp)
    return {"k1": float(found.k1.mean()), "k2": float(found.k2.mean()), "k3": float(found.k3.mean())}


def _updates(sequences: Sequence[Sequence[TrainingSequence]], rules: BatchRules) -> list[list[TrainingSequence]]:
    groups_per_update = len(sequences) // rules.updates_per_step
    cuts = [
        [sequence for group in sequences[start : start + groups_per_update] for sequence in group]
        for start in range(0, groups_per_update * rules.updates_per_step, groups_per_update)
    ]
    return cuts * rules.epochs
