"""How token losses become one number: a weight for every token, so that `loss = Σ_t w_t · ℓ_t`.

The denominators count over the whole optimizer update, on every rank, and never over a micro-batch; so the gradient does not depend
on how the update is cut into micro-batches or ranks. Ranks add up their `StepCounts` first; gradients are summed, not averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCounts:
    """Counts over one optimizer update. `learning_sequences` have at least one token in the loss."""

    tokens: int
    sequences: int
    learning_sequences: int

    def __add__(self, other: StepCounts) -> StepCounts:
        return StepCounts(
            tokens=self.tokens + other.tokens,
            sequences=self.sequences + other.sequences,
            learning_sequences=self.learning_sequences + other.learning_sequences,
        )


def step_counts(masks: Sequence[Tensor]) -> StepCounts:
    """Counts of these sequences; each mask is `[time]` in {0, 1}."""
    tokens = [int((mask > 0).sum()) for mask in masks]
    return StepCounts(tokens=sum(tokens), sequences=len(tokens), learning_sequences=sum(count > 0 for count in tokens))


def token_weights(masks: Sequence[Tensor], *, kind: str, constant_length: int, counts: StepCounts | None = None) -> list[Tensor]:
    """Weights `[time]` float32 for each sequence, by the aggregation's name in the spec.

    `masks` `[time]` in {0, 1}. `counts` are those of the whole update when `masks` is only a part of it (default: `masks` is the
    update). `constant_length` in tokens matters to `constant` only. Raises `ValueError` for an unknown kind or a length below 1.
    """
    if kind not in AGGREGATIONS:
        raise ValueError(f"unknown aggregation {kind!r}: use one of {', '.join(AGGREGATIONS)}")
    if constant_length < 1:
        raise ValueError(f"constant_length must be at least 1 token, got {constant_length}")
    whole = counts if counts is not None else step_counts(masks)
    weigh = AGGREGATIONS[kind]
    return [torch.where(mask > 0, weigh(int((mask > 0).sum()), whole, constant_length), 0.0).to(torch.float32) for mask in masks]


def _token_mean(tokens: int, counts: StepCounts, constant_length: int) -> float:
    """`1 / N`, N tokens in the update (DAPO, arXiv 2503.14476, eq. 8)."""
    return 1.0 / max(counts.tokens, 1)


def _sequence_mean(tokens: int, counts: StepCounts, constant_length: int) -> float:
    """`1 / (S · T)`: mean over each sequence's tokens, then over the sequences that learn (GRPO, arXiv 2402.03300, eq. 3)."""
    return 1.0 / (max(counts.learning_sequences, 1) * max(tokens, 1))


def _constant(tokens: int, counts: StepCounts, constant_length: int) -> float:
    """`1 / (S · L)` with a constant L and all sequences, masked ones too (Dr. GRPO, arXiv 2503.20783, section 3.2)."""
    return 1.0 / (max(counts.sequences, 1) * constant_length)


AGGREGATIONS: Mapping[str, Callable[[int, StepCounts, int], float]] = {
    "tokenMean": _token_mean,
    "sequenceMean": _sequence_mean,
    "constant": _constant,
}
