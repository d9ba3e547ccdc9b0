"""The loss of one micro-batch, shared by every trainer: which sequences have a gradient, their tokens side by side, and the weighted sum
of policy loss, KL and entropy bonus over them.

The weights of the tokens come from the whole update, so losses of micro-batches are summed, never averaged. The trainers differ in where
hidden states come from and where gradients go; what is learned is decided here alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reasonrl.rl.aggregation import token_weights
from reasonrl.rl.entropy import entropy_bonus
from reasonrl.rl.importance import importance_weights
from reasonrl.rl.kl import kl_estimate
from reasonrl.rl.logprobs import fused_head_loss, inference_logprobs, token_logprobs
from reasonrl.rl.losses import LOSSES, ClipSetting
from reasonrl.train.protocol import TrainerError, TrainingSequence, UpdateSetting
from reasonrl.train.update_rules import LossRules
from reasonrl.train.update_totals import UpdateTotals


@dataclass(frozen=True, slots=True)
class Head:
    """The language-model head: `weight` `[vocabulary, hidden]` and `bias` `[vocabulary]`; `chunk_tokens` rows of logits exist at once."""

    weight: Tensor
    bias: Tensor | None
    chunk_tokens: int


@dataclass(frozen=True, slots=True)
class TokenTensors:
    """One micro-batch's per-token inputs of the loss, each `[responseTokens]`, sequence after sequence."""

    targets: Tensor
    advantages: Tensor
    mask: Tensor
    weights: Tensor
    sampler: Tensor
    old: Tensor | None
    reference: Tensor | None
    sequence_ids: Tensor


@dataclass(frozen=True, slots=True)
class UpdateLoss:
    """How the sequences of one optimizer update become a loss. `rules` hold for the run, `setting` for the step."""

    rules: LossRules
    setting: UpdateSetting

    @property
    def kl_in_loss(self) -> bool:
        kl = self.rules.kl
        return kl is not None and kl.placement == "loss" and self.setting.kl_coefficient != 0.0

    def check(self, updates: Sequence[Sequence[TrainingSequence]]) -> None:
        """Raises TrainerError when KL is in the loss and a sequence comes without reference log-probs."""
        if self.kl_in_loss and any(each.reference_logprobs is None for sequences in updates for each in sequences):
            raise TrainerError("KL is in the loss, but some sequences come without reference log-probs")

    def token_weights(self, sequences: Sequence[TrainingSequence]) -> list[Tensor]:
        """Weights `[time]` for each sequence of a whole update. Denominators count every sequence, also those without a gradient."""
        masks = [sequence.mask for sequence in sequences]
        return token_weights(masks, kind=self.rules.aggregation, constant_length=self.setting.constant_length)

    def has_gradient(self, sequence: TrainingSequence) -> bool:
        """Whether the sequence can move the weights at all: what cannot needs no forward pass."""
        terms = bool(sequence.advantages.any()) or self.kl_in_loss or self.setting.entropy_coefficient != 0.0
        return terms and bool(sequence.mask.any())

    def of_micro_batch(self, hidden: Tensor, head: Head, tokens: TokenTensors, *, totals: UpdateTotals, first: bool) -> Tensor:
        """Σ w·ℓ over the tokens, differentiable; `hidden` `[responseTokens, hidden]`. Statistics go into `totals`, those of the sampler's
        distance only for the `first` update of a step."""

        def loss_of(logprobs: Tensor, entropy: Tensor, rows: slice) -> Tensor:
            return self._of_tokens(logprobs, entropy, tokens, rows, totals=totals, first=first)

        weight, temperature, chunk = head.weight.to(hidden.dtype), self.setting.temperature, head.chunk_tokens
        if LOSSES[self.rules.loss].whole_sequences or self.rules.correction.level == "sequence":
            logprobs, entropy = token_logprobs(
                hidden, weight, tokens.targets, temperature=temperature, chunk_tokens=chunk, head_bias=head.bias
            )
            return loss_of(logprobs, entropy, slice(0, hidden.shape[0]))
        return fused_head_loss(
            hidden, weight, tokens.targets, temperature=temperature, chunk_tokens=chunk, head_bias=head.bias, loss_of_chunk=loss_of
        ).loss

    def _of_tokens(
        self, logprobs: Tensor, entropy: Tensor, tokens: TokenTensors, rows: slice, *, totals: UpdateTotals, first: bool
    ) -> Tensor:
        """Σ w·(policy loss + KL − entropy bonus) of the tokens `rows`."""
        rules, setting = self.rules, self.setting
        mask, weights, sampler = tokens.mask[rows], tokens.weights[rows], tokens.sampler[rows]
        old = logprobs.detach() if tokens.old is None else tokens.old[rows]
        corrected = importance_weights(
            logprobs.detach() if rules.old_logprobs == "trainer" and tokens.old is None else old,
            sampler,
            mask=mask,
            sequence_ids=tokens.sequence_ids[rows],
            correction=rules.correction,
        )
        policy = LOSSES[rules.loss].compute(
            logprobs,
            old,
            tokens.advantages[rows],
            mask,
            tokens.sequence_ids[rows],
            ClipSetting(low=setting.clip_low, high=setting.clip_high, dual=rules.dual_clip),
        )
        token_loss = policy.loss * corrected.weights
        if self.kl_in_loss and rules.kl is not None and tokens.reference is not None:
            token_loss = token_loss + setting.kl_coefficient * kl_estimate(logprobs, tokens.reference[rows], rules.kl)
        if setting.entropy_coefficient != 0.0:
            token_loss = token_loss + entropy_bonus(entropy, coefficient=setting.entropy_coefficient)
        loss = (weights * token_loss).sum()
        totals.add_tokens(
            loss=loss.detach(),
            mask=mask,
            entropy=entropy.detach(),
            clipped=policy.clipped,
            sampler_gap=(logprobs.detach() - sampler).abs() if first else None,
        )
        return loss


def token_tensors(batch: Sequence[TrainingSequence], weights: Sequence[Tensor], *, device: torch.device) -> TokenTensors:
    """The per-token values of these sequences, with the weights `[time]` of each, on `device`."""

    def joined(parts: Iterable[Tensor | None]) -> Tensor | None:
        present = list(parts)
        tensors = [part for part in present if part is not None]
        return torch.cat(tensors).to(device) if len(tensors) == len(present) else None

    def required(parts: Iterable[Tensor]) -> Tensor:
        return torch.cat(list(parts)).to(device)

    counts = torch.tensor([sequence.response_length for sequence in batch])
    return TokenTensors(
        targets=required(_responses(batch)),
        advantages=required(sequence.advantages for sequence in batch),
        mask=required(sequence.mask for sequence in batch),
        weights=required(weights),
        sampler=required(sequence.sampler_logprobs for sequence in batch),
        old=joined(sequence.old_logprobs for sequence in batch),
        reference=joined(sequence.reference_logprobs for sequence in batch),
        sequence_ids=torch.repeat_interleave(torch.arange(len(batch)), counts).to(device),
    )


def response_logprobs(hidden: Tensor, head: Head, batch: Sequence[TrainingSequence], *, temperature: float) -> list[Tensor]:
    """Log-probs `[time]` of each response, on the CPU, without gradients; `hidden` `[responseTokens, hidden]`."""
    logprobs = inference_logprobs(
        hidden,
        head.weight.to(hidden.dtype),
        torch.cat(list(_responses(batch))).to(hidden.device),
        temperature=temperature,
        chunk_tokens=head.chunk_tokens,
        head_bias=head.bias,
    )
    return list(torch.split(logprobs.cpu(), [sequence.response_length for sequence in batch]))


def mark_old_logprobs(updates: Sequence[Sequence[TrainingSequence]], *, rules: LossRules) -> list[TrainingSequence]:
    """Sets every sequence's old log-probs as far as they are known, and returns the sequences that still need the trainer's own.

    Old log-probs belong to the weights at the start of the step. Sequences of the first update alone need no extra forward pass: there
    the policy is still the old one, and its own detached log-probs serve.
    """
    for sequences in updates:
        for sequence in sequences:
            sequence.old_logprobs = sequence.sampler_logprobs if rules.old_logprobs == "sampler" else None
    if rules.old_logprobs == "sampler":
        return []
    return list({id(sequence): sequence for sequences in updates[1:] for sequence in sequences}.values())


def _responses(batch: Sequence[TrainingSequence]) -> Iterable[Tensor]:
    return (sequence.tokens[sequence.prompt_length :] for sequence in batch)
