"""Supervised training: the warm start before reinforcement learning, or a job of its own.

Cross-entropy on the responses, prompts masked. The sum over a batch's response tokens is divided by a constant, not by their number: with a
denominator that follows the batch, the tokens of batches with short responses weigh more, and a model of short and long responses learns to
close early.

Step k is a function of the weights, the optimizer's moments and the examples of step k, and these are a function of k; so a run that
stops between two steps and goes on from `save` is bit for bit the run that never stopped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel

from reasonrl.rl.logprobs import fused_head_loss
from reasonrl.train.batching import micro_batches
from reasonrl.train.lean_forward import LeanForward, lean_forward_for
from reasonrl.train.policy_forward import head_of
from reasonrl.train.protocol import LossNotFiniteError, TrainerError, TrainingSequence
from reasonrl.train.supervised_rows import Example, TokenRows, packed_rows, plain_rows
from reasonrl.train.trainer_files import read_trainer_files, write_trainer_files

STATE_FILE = "supervised.json"

ScheduleName = Literal["cosine", "linear", "constant"]
BatchAt = Callable[[int], Sequence[Example]]
"""The examples of step k, k from 0. Must be the same whenever it is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisedSetting:
    """`denominator` is the constant that a batch's summed loss is divided by, in tokens: the batch size times the mean response length
    makes the gradient that of a mean over tokens. `warmup_steps` rise linearly to `learning_rate`; `schedule` falls from there to 0 at
    the end (or stays). `packed_row_tokens` lets several examples share a row of up to so many tokens; None packs nothing, and the lean
    forward pass, which has no rows, needs none. `dtype` is that of the matrix products; weights and moments are float32."""

    steps: int
    denominator: float
    learning_rate: float
    warmup_steps: int = 0
    schedule: ScheduleName = "cosine"
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    tokens_per_micro_batch: int = 16_384
    packed_row_tokens: int | None = None
    logits_chunk_tokens: int = 2048
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True, slots=True)
class SupervisedStep:
    """One finished step. `step` counts finished steps, so the first is 1; `loss` is the mean cross-entropy over this batch's response
    tokens (nats); `tokens` counts prompts too; `seconds` are this step's own."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


class SupervisedTrainer:
    """Trains `model` in place, on its device. `step` counts finished steps."""

    def __init__(self, model: PreTrainedModel, setting: SupervisedSetting) -> None:
        """Raises TrainerError for a model whose attention cannot take the mask that packing needs."""
        attention = getattr(model.config, "_attn_implementation", "eager")
        if setting.packed_row_tokens is not None and attention not in ("sdpa", "eager"):
            raise TrainerError(f"spec.sft.packing needs attention that takes a mask (sdpa or eager), but the model uses {attention}")
        self._model = model.float().train()
        self._setting = setting
        self._head_weight, self._head_bias = head_of(self._model)
        self._lean = lean_forward_for(self._model, compute_dtype=setting.dtype)
        self._optimizer = _optimizer(self._model, weight_decay=setting.weight_decay)
        self.step = 0

    def steps(self, batch_at: BatchAt) -> Iterator[SupervisedStep]:
        """Trains from the current step to the last, yielding after each. Between two steps the caller may save, or stop for good.

        Raises LossNotFiniteError when a gradient is not finite; no weight is changed by that step.
        """
        while self.step < self._setting.steps:
            started = time.perf_counter()
            examples = batch_at(self.step)
            rate = learning_rate_at(self.step, self._setting)
            total = self._accumulate_gradient(examples)
            norm = self._update(rate)
            self.step += 1
            yield SupervisedStep(
                step=self.step,
                loss=total / sum(len(example.tokens) - example.prompt_length for example in examples),
                learning_rate=rate,
                gradient_norm=norm,
                tokens=sum(len(example.tokens) for example in examples),
                seconds=time.perf_counter() - started,
            )

    def save(self, directory: Path) -> None:
        """Writes the model, the optimizer's moments and the step to `directory`, in the layout of the trainer's checkpoints."""
        directory.mkdir(parents=True, exist_ok=True)
        write_trainer_files(directory, model=self._model, optimizer=self._optimizer, reference=None, dtype=torch.float32)
        (directory / STATE_FILE).write_text(json.dumps({"step": self.step}))

    def load(self, directory: Path) -> None:
        """Raises TrainerError when `directory` holds no supervised state, or that of another model."""
        file = directory / STATE_FILE
        if not file.exists():
            raise TrainerError(f"{directory} holds no state of a supervised run (no {STATE_FILE})")
        read_trainer_files(directory, model=self._model, optimizer=self._optimizer, reference=None)
        self.step = int(json.loads(file.read_text())["step"])

    def _accumulate_gradient(self, examples: Sequence[Example]) -> float:
        """Adds the gradient of the batch and returns its summed cross-entropy (nats)."""
        total = 0.0
        for hidden, targets in self._predictions(examples):
            loss = self._summed_loss(hidden, targets) / self._setting.denominator
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach()) * self._setting.denominator
        return total

    def _predictions(self, examples: Sequence[Example]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Hidden states `[responseTokens, hidden]` and the tokens `[responseTokens]` that they predict, a micro-batch at a time."""
        setting = self._setting
        if self._lean is not None:
            yield from _lean_predictions(self._lean, examples, token_budget=setting.tokens_per_micro_batch)
            return
        if setting.packed_row_tokens is None:
            parts = plain_rows(examples, token_budget=setting.tokens_per_micro_batch)
        else:
            parts = packed_rows(examples, row_tokens=setting.packed_row_tokens, token_budget=setting.tokens_per_micro_batch)
        for rows in parts:
            yield self._hidden(rows), rows.targets

    def _hidden(self, rows: TokenRows) -> torch.Tensor:
        device = self._head_weight.device
        dtype = self._setting.dtype
        layout = {}
        if rows.packing is not None:
            layout = {"position_ids": rows.packing.positions.to(device), "attention_mask": rows.packing.mask.to(device=device, dtype=dtype)}
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            hidden: torch.Tensor = self._model.base_model(input_ids=rows.tokens.to(device), use_cache=False, **layout).last_hidden_state
        return hidden.reshape(-1, hidden.shape[-1]).index_select(0, rows.predictors.to(device))

    def _summed_loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return fused_head_loss(
            hidden,
            self._head_weight.to(hidden.dtype),
            targets.to(hidden.device),
            temperature=1.0,
            chunk_tokens=self._setting.logits_chunk_tokens,
            loss_of_chunk=lambda logprobs, _entropy, _rows: -logprobs.sum(),
            head_bias=self._head_bias,
        ).loss

    def _update(self, rate: float) -> float:
        norm = float(torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._setting.max_gradient_norm))
        if not math.isfinite(norm):
            self._optimizer.zero_grad(set_to_none=True)
            raise LossNotFiniteError(
                f"supervised step {self.step + 1}: the gradient norm is {norm}; no weight was changed by it. "
                f"Lower spec.sft.learningRate (here {rate:g}) or lengthen spec.sft.warmupSteps"
            )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm


def _lean_predictions(lean: LeanForward, examples: Sequence[Example], *, token_budget: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for part in micro_batches([len(example.tokens) for example in examples], token_budget=token_budget):
        sequences = [_sequence(examples[index]) for index in part]
        yield lean(sequences), torch.cat([sequence.tokens[sequence.prompt_length :] for sequence in sequences])


def _sequence(example: Example) -> TrainingSequence:
    nothing = torch.empty(0)
    return TrainingSequence(
        tokens=torch.tensor(example.tokens),
        prompt_length=example.prompt_length,
        advantages=nothing,
        mask=nothing,
        sampler_logprobs=nothing,
    )


def learning_rate_at(step: int, setting: SupervisedSetting) -> float:
    """The learning rate of step `step` (from 0): a function of the step alone."""
    if step < setting.warmup_steps:
        return setting.learning_rate * (step + 1) / setting.warmup_steps
    progress = (step - setting.warmup_steps) / max(setting.steps - setting.warmup_steps, 1)
    factor = {"cosine": (1 + math.cos(math.pi * progress)) / 2, "linear": 1 - progress, "constant": 1.0}[setting.schedule]
    return setting.learning_rate * factor


def _optimizer(model: PreTrainedModel, *, weight_decay: float) -> torch.optim.AdamW:
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, fused=True)
