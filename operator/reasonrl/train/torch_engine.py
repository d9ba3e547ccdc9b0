"""The built-in trainer: one process, any transformers causal language model, on a CPU or one GPU.

It keeps float32 weights and AdamW, cuts each update into micro-batches by token budget, takes hidden states from the model and goes
through the head in chunks. Denominators are those of the whole update, so the gradient does not depend on the cut.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from reasonrl.train.adamw import adamw
from reasonrl.train.batching import micro_batches
from reasonrl.train.micro_batch_loss import Head, UpdateLoss, mark_old_logprobs, response_logprobs, token_tensors
from reasonrl.train.policy_forward import PolicyForward, head_of, policy_forward
from reasonrl.train.protocol import LossNotFiniteError, TrainerError, TrainingSequence, UpdateSetting, UpdateStats
from reasonrl.train.trainer_files import read_trainer_files, write_trainer_files
from reasonrl.train.update_rules import ComputeRules, LossRules, OptimizerRules
from reasonrl.train.update_totals import UpdateTotals


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
        head_of(self._model)
        self._optimizer = adamw(self._model.parameters(), self._optimizer_rules)
        self._reference: PreTrainedModel | None = None
        self._reference_forward: PolicyForward | None = None
        if keep_reference:
            self._set_reference()

    @property
    def model(self) -> PreTrainedModel:
        return self._model

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self._model.parameters()).device
        return device

    def reference_logprobs(self, sequences: Sequence[TrainingSequence], *, temperature: float) -> list[Tensor]:
        if self._reference is None or self._reference_forward is None:
            raise TrainerError("this run holds no reference model: spec.algorithm.kl is off or spec.model.reference.enabled is false")
        return self._logprobs(self._reference, self._reference_forward, sequences, temperature=temperature)

    def policy_logprobs(self, sequences: Sequence[TrainingSequence], *, temperature: float) -> list[Tensor]:
        """Log-probs `[time]` of each response under the current policy."""
        return self._logprobs(self._model, self._forward, sequences, temperature=temperature)

    def update(self, updates: Sequence[Sequence[TrainingSequence]], *, setting: UpdateSetting) -> UpdateStats:
        """One optimizer update for each inner sequence.

        Raises, before the optimizer moves, LossNotFiniteError when a gradient is not finite, and TrainerError when KL is in the loss and
        a sequence comes without reference log-probs.
        """
        loss = UpdateLoss(self._loss, setting)
        loss.check(updates)
        later = mark_old_logprobs(updates, rules=self._loss)
        for sequence, logprobs in zip(later, self.policy_logprobs(later, temperature=setting.temperature), strict=True):
            sequence.old_logprobs = logprobs
        totals = UpdateTotals()
        for group in self._optimizer.param_groups:
            group["lr"] = setting.learning_rate
        for number, sequences in enumerate(updates):
            self._accumulate_gradient(sequences, loss=loss, totals=totals, first=number == 0)
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
            self._optimizer = adamw(self._model.parameters(), self._optimizer_rules)

    def save(self, directory: Path) -> None:
        write_trainer_files(directory, model=self._model, optimizer=self._optimizer, reference=self._reference, dtype=self._compute.dtype)

    def load(self, directory: Path) -> None:
        read_trainer_files(directory, model=self._model, optimizer=self._optimizer, reference=self._reference)

    def _set_reference(self) -> None:
        self._reference = copy.deepcopy(self._model).eval().requires_grad_(False)
        self._reference_forward = policy_forward(self._reference, dtype=self._compute.dtype, gradient_checkpointing=False)

    def _accumulate_gradient(self, sequences: Sequence[TrainingSequence], *, loss: UpdateLoss, totals: UpdateTotals, first: bool) -> None:
        weights = loss.token_weights(sequences)
        learning = [index for index, sequence in enumerate(sequences) if loss.has_gradient(sequence)]
        lengths = [int(sequences[index].tokens.numel()) for index in learning]
        for cut in micro_batches(lengths, token_budget=self._compute.tokens_per_micro_batch):
            rows = [learning[place] for place in cut]
            batch = [sequences[row] for row in rows]
            tokens = token_tensors(batch, [weights[row] for row in rows], device=self.device)
            hidden = self._forward(batch).to(self._compute.dtype)
            part = loss.of_micro_batch(hidden, self._head(self._model), tokens, totals=totals, first=first)
            part.backward()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _logprobs(
        self, model: PreTrainedModel, forward: PolicyForward, sequences: Sequence[TrainingSequence], *, temperature: float
    ) -> list[Tensor]:
        head = self._head(model)
        found: dict[int, Tensor] = {}
        lengths = [int(sequence.tokens.numel()) for sequence in sequences]
        for rows in micro_batches(lengths, token_budget=self._compute.tokens_per_micro_batch):
            batch = [sequences[row] for row in rows]
            hidden = forward(batch).to(self._compute.dtype)
            found.update(zip(rows, response_logprobs(hidden, head, batch, temperature=temperature), strict=True))
        return [found[row] for row in range(len(sequences))]

    def _head(self, model: PreTrainedModel) -> Head:
        head = model.get_output_embeddings()
        return Head(head.weight, getattr(head, "bias", None), self._compute.logits_chunk_tokens)
