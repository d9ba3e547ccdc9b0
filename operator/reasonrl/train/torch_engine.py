"""The built-in trainer: one process, any transformers causal language model, on a CPU or one GPU.

It keeps float32 weights and AdamW, cuts each update into micro-batches by token budget, takes hidden states from the model and goes
through the head in chunks. Denominators are those of the whole update, so the gradient does not depend on the cut.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from reasonrl.rl.aggregation import token_weights
from reasonrl.rl.entropy import entropy_bonus
from reasonrl.rl.importance import importance_weights
from reasonrl.rl.kl import kl_estimate
from reasonrl.rl.logprobs import fused_head_loss, inference_logprobs, token_logprobs
from reasonrl.rl.losses import LOSSES, ClipSetting
from reasonrl.train.batching import micro_batches
from reasonrl.train.policy_forward import PolicyForward, head_of, policy_forward
from reasonrl.train.protocol import LossNotFiniteError, TrainerError, TrainingSequence, UpdateSetting, UpdateStats
from reasonrl.train.trainer_files import read_trainer_files, write_trainer_files
from reasonrl.train.update_rules import ComputeRules, LossRules, OptimizerRules
from reasonrl.train.update_totals import UpdateTotals


@dataclass(frozen=True, slots=True)
class _TokenTensors:
    """One micro-batch's per-token inputs of the loss, each `[responseTokens]`, sequence after sequence."""

    targets: Tensor
    advantages: Tensor
    mask: Tensor
    weights: Tensor
    sampler: Tensor
    old: Tensor | None
    reference: Tensor | None
    sequence_ids: Tensor


class TorchTrainer:
    """A `Trainer` in this process, on the device that the model is on.

    Statistics are over the tokens that took part in a gradient: a response with no advantage, in a run without KL or entropy terms,
    is not computed at all.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        loss: LossRules,
        optimizer: OptimizerRules,
        compute: ComputeRules,
        keep_reference: bool,
    ) -> None:
        self._model = model.float().train()
        self._loss = loss
        self._optimizer_rules = optimizer
        self._compute = compute
        self._forward = policy_forward(self._model, dtype=compute.dtype, gradient_checkpointing=compute.gradient_checkpointing)
        self._head_weight, self._head_bias = head_of(self._model)
        self._optimizer = self._new_optimizer()
        self._reference: PreTrainedModel | None = None
        self._reference_forward: PolicyForward | None = None
        if keep_reference:
            self._set_reference()

    @property
    def model(self) -> PreTrainedModel:
        return self._model

    @property
    def device(self) -> torch.device:
        return self._head_weight.device

    def reference_logprobs(self, sequences: Sequence[TrainingSequence], *, temperature: float) -> list[Tensor]:
        if self._reference is None or self._reference_forward is None:
            raise TrainerError("this run holds no reference model: spec.algorithm.kl is off or spec.model.reference.enabled is false")
        return self._logprobs(self._reference, self._reference_forward, sequences, temperature=temperature)

    def policy_logprobs(self, sequences: Sequence[TrainingSequence], *, temperature: float) -> list[Tensor]:
        """Log-probs `[time]` of each response under the current policy."""
        return self._logprobs(self._model, self._forward, sequences, temperature=temperature)

    def update(self, updates: Sequence[Sequence[TrainingSequence]], *, setting: UpdateSetting) -> UpdateStats:
        """One optimizer update for each inner sequence.

        Raises TrainerError, before the optimizer moves, when a gradient is not finite, or when KL is in the loss and a sequence comes
        without reference log-probs.
        """
        if self._kl_in_loss(setting) and any(each.reference_logprobs is None for sequences in updates for each in sequences):
            raise TrainerError("KL is in the loss, but some sequences come without reference log-probs")
        self._fix_old_logprobs(updates, temperature=setting.temperature)
        totals = UpdateTotals()
        for group in self._optimizer.param_groups:
            group["lr"] = setting.learning_rate
        for number, sequences in enumerate(updates):
            self._accumulate_gradient(sequences, setting=setting, totals=totals, first=number == 0)
            norm = float(torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._optimizer_rules.max_gradient_norm))
            if not math.isfinite(norm):
                self._optimizer.zero_grad(set_to_none=True)
                raise LossNotFiniteError(
                    f"the gradient norm of update {number + 1} of {len(updates)} is {norm}; no weight was changed by it. "
                    "Lower spec.algorithm.optimizer.learningRate, or look at the rewards and log-probs of this step"
                )
            totals.add_update(gradient_norm=norm)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        return totals.stats()

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        return ((name, tensor.detach()) for name, tensor in self._model.named_parameters())

    def reset_reference(self, *, reset_optimizer: bool) -> None:
        if self._reference is None:
            raise TrainerError("this run holds no reference model to reset")
        self._set_reference()
        if reset_optimizer:
            self._optimizer = self._new_optimizer()

    def save(self, directory: Path) -> None:
        write_trainer_files(directory, model=self._model, optimizer=self._optimizer, reference=self._reference, dtype=self._compute.dtype)

    def load(self, directory: Path) -> None:
        read_trainer_files(directory, model=self._model, optimizer=self._optimizer, reference=self._reference)

    def _new_optimizer(self) -> torch.optim.AdamW:
        rules = self._optimizer_rules
        matrices = [parameter for parameter in self._model.parameters() if parameter.dim() >= 2]
        others = [parameter for parameter in self._model.parameters() if parameter.dim() < 2]
        return torch.optim.AdamW(
            [{"params": matrices, "weight_decay": rules.weight_decay}, {"params": others, "weight_decay": 0.0}],
            betas=rules.betas,
            eps=rules.epsilon,
            fused=True,
        )

    def _set_reference(self) -> None:
        self._reference = copy.deepcopy(self._model).eval().requires_grad_(False)
        self._reference_forward = policy_forward(self._reference, dtype=self._compute.dtype, gradient_checkpointing=False)

    def _fix_old_logprobs(self, updates: Sequence[Sequence[TrainingSequence]], *, temperature: float) -> None:
        """Old log-probs belong to the weights at the start of the step. Sequences of the first update alone need no extra forward
        pass: there the policy is still the old one, and its own detached log-probs serve."""
        for sequences in updates:
            for sequence in sequences:
                sequence.old_logprobs = sequence.sampler_logprobs if self._loss.old_logprobs == "sampler" else None
        if self._loss.old_logprobs == "trainer" and len(updates) > 1:
            later = list({id(sequence): sequence for sequences in updates[1:] for sequence in sequences}.values())
            for sequence, logprobs in zip(later, self.policy_logprobs(later, temperature=temperature), strict=True):
                sequence.old_logprobs = logprobs

    def _accumulate_gradient(
        self, sequences: Sequence[TrainingSequence], *, setting: UpdateSetting, totals: UpdateTotals, first: bool
    ) -> None:
        weights = token_weights(
            [sequence.mask for sequence in sequences], kind=self._loss.aggregation, constant_length=setting.constant_length
        )
        # The denominators above count every sequence; what has no gradient at all needs no forward pass.
        learning = [index for index, sequence in enumerate(sequences) if self._has_gradient(sequence, setting)]
        lengths = [int(sequences[index].tokens.numel()) for index in learning]
        for cut in micro_batches(lengths, token_budget=self._compute.tokens_per_micro_batch):
            rows = [learning[place] for place in cut]
            batch = [sequences[row] for row in rows]
            tokens = self._token_tensors(batch, [weights[row] for row in rows])
            hidden = self._forward(batch).to(self._compute.dtype)
            loss = self._micro_batch_loss(hidden, tokens, setting=setting, totals=totals, first=first)
            loss.backward()  # type: ignore[no-untyped-call]

    def _has_gradient(self, sequence: TrainingSequence, setting: UpdateSetting) -> bool:
        terms = bool(sequence.advantages.any()) or self._kl_in_loss(setting) or setting.entropy_coefficient != 0.0
        return terms and bool(sequence.mask.any())

    def _kl_in_loss(self, setting: UpdateSetting) -> bool:
        return self._loss.kl is not None and self._loss.kl.placement == "loss" and setting.kl_coefficient != 0.0

    def _token_tensors(self, batch: Sequence[TrainingSequence], weights: Sequence[Tensor]) -> _TokenTensors:
        def joined(parts: Iterable[Tensor | None]) -> Tensor | None:
            present = list(parts)
            tensors = [part for part in present if part is not None]
            return torch.cat(tensors).to(self.device) if len(tensors) == len(present) else None

        def required(parts: Iterable[Tensor]) -> Tensor:
            return torch.cat(list(parts)).to(self.device)

        counts = torch.tensor([sequence.response_length for sequence in batch])
        return _TokenTensors(
            targets=required(sequence.tokens[sequence.prompt_length :] for sequence in batch),
            advantages=required(sequence.advantages for sequence in batch),
            mask=required(sequence.mask for sequence in batch),
            weights=required(weights),
            sampler=required(sequence.sampler_logprobs for sequence in batch),
            old=joined(sequence.old_logprobs for sequence in batch),
            reference=joined(sequence.reference_logprobs for sequence in batch),
            sequence_ids=torch.repeat_interleave(torch.arange(len(batch)), counts).to(self.device),
        )

    def _micro_batch_loss(
        self, hidden: Tensor, tokens: _TokenTensors, *, setting: UpdateSetting, totals: UpdateTotals, first: bool
    ) -> Tensor:
        def loss_of(logprobs: Tensor, entropy: Tensor, rows: slice) -> Tensor:
            return self._loss_of_tokens(logprobs, entropy, tokens, rows, setting=setting, totals=totals, first=first)

        weight, bias = self._head_weight.to(hidden.dtype), self._head_bias
        whole = LOSSES[self._loss.loss].whole_sequences or self._loss.correction.level == "sequence"
        chunk = self._compute.logits_chunk_tokens
        if whole:
            logprobs, entropy = token_logprobs(
                hidden, weight, tokens.targets, temperature=setting.temperature, chunk_tokens=chunk, head_bias=bias
            )
            return loss_of(logprobs, entropy, slice(0, hidden.shape[0]))
        return fused_head_loss(
            hidden, weight, tokens.targets, temperature=setting.temperature, chunk_tokens=chunk, head_bias=bias, loss_of_chunk=loss_of
        ).loss

    def _loss_of_tokens(
        self,
        logprobs: Tensor,
        entropy: Tensor,
        tokens: _TokenTensors,
        rows: slice,
        *,
        setting: UpdateSetting,
        totals: UpdateTotals,
        first: bool,
    ) -> Tensor:
        """Σ w·(policy loss + KL − entropy bonus) of the tokens `rows`; statistics go into `totals`."""
        rules = self._loss
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
        if self._kl_in_loss(setting) and rules.kl is not None and tokens.reference is not None:
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

    @torch.no_grad()
    def _logprobs(
        self, model: PreTrainedModel, forward: PolicyForward, sequences: Sequence[TrainingSequence], *, temperature: float
    ) -> list[Tensor]:
        weight, bias = _head(model)
        found: list[Tensor | None] = [None] * len(sequences)
        lengths = [int(sequence.tokens.numel()) for sequence in sequences]
        for rows in micro_batches(lengths, token_budget=self._compute.tokens_per_micro_batch):
            batch = [sequences[row] for row in rows]
            hidden = forward(batch).to(self._compute.dtype)
            logprobs = inference_logprobs(
                hidden,
                weight.to(hidden.dtype),
                torch.cat([sequence.tokens[sequence.prompt_length :] for sequence in batch]).to(hidden.device),
                temperature=temperature,
                chunk_tokens=self._compute.logits_chunk_tokens,
                head_bias=bias,
            )
            for row, part in zip(rows, torch.split(logprobs, [sequence.response_length for sequence in batch]), strict=True):
                found[row] = part.cpu()
        return [logprobs for logprobs in found if logprobs is not None]


def _head(model: PreTrainedModel) -> tuple[Tensor, Tensor | None]:
    head = model.get_output_embeddings()
    return head.weight, getattr(head, "bias", None)
