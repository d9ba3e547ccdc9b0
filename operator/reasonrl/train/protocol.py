"""What the loop asks of a trainer. The trainer is blind to the algorithm's bookkeeping: it sees tokens, masks, advantages and
log-probs, and knows nothing of questions, rewards or phases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch


@dataclass(slots=True)
class TrainingSequence:
    """One response, ready to learn from.

    `tokens` int64 `[prompt + time]`; `prompt_length` leading tokens are context. The others are `[time]`: `advantages` float32,
    `mask` float32 in {0, 1} (1 = takes part in the loss), `sampler_logprobs` float32 (temperature included), and, when the run
    has them, `old_logprobs` and `reference_logprobs` float32.
    """

    tokens: torch.Tensor
    prompt_length: int
    advantages: torch.Tensor
    mask: torch.Tensor
    sampler_logprobs: torch.Tensor
    old_logprobs: torch.Tensor | None = None
    reference_logprobs: torch.Tensor | None = None

    @property
    def response_length(self) -> int:
        return int(self.tokens.numel()) - self.prompt_length


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSetting:
    """What may change from step to step. `constant_length` is the denominator of the `constant` aggregation, in tokens."""

    learning_rate: float
    temperature: float
    kl_coefficient: float
    entropy_coefficient: float
    clip_low: float
    clip_high: float
    constant_length: int


@dataclass(frozen=True, slots=True)
class UpdateStats:
    """Means over the tokens that took part in a gradient, over all optimizer updates of one step; zeros when none did."""

    loss: float
    entropy: float
    clip_fraction: float
    gradient_norm: float
    sampler_gap_mean: float
    """Mean |trainer − sampler| log-prob of the sampled tokens, before the first update (nats)."""
    sampler_gap_max: float
    updates: int
    tokens: int


class Trainer(Protocol):
    def reference_logprobs(self, sequences: Sequence[TrainingSequence], *, temperature: float) -> list[torch.Tensor]:
        """Log-probs `[time]` of each response under the reference model. Raises `TrainerError` when the run holds no reference."""
        ...

    def update(self, updates: Sequence[Sequence[TrainingSequence]], *, setting: UpdateSetting) -> UpdateStats:
        """One optimizer update for each inner sequence, in order."""
        ...

    def weights(self) -> Iterable[tuple[str, torch.Tensor]]:
        """The policy's parameters by their Hugging Face names; the tensors are views, valid until the next update."""
        ...

    def reset_reference(self, *, reset_optimizer: bool) -> None: ...

    def save(self, directory: Path) -> None:
        """Writes the policy in Hugging Face format to `directory/policy`, and everything else needed to go on, beside it."""
        ...

    def load(self, directory: Path) -> None: ...


class TrainerError(Exception):
    """The trainer was asked for something that this run cannot do."""


class LossNotFiniteError(TrainerError):
    """An update gave a gradient that is no finite number; no weight was changed by it."""


class RanksLostError(TrainerError):
    """Another rank of this trainer died or froze. The ranks that are left cannot go on: all must be started again."""
