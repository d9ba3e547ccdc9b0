"""The trainer for several processes: DeepSpeed's ZeRO under the same loss, the same micro-batches and the same files as the built-in one.

Every rank's process makes a `DeepSpeedTrainer` and every rank is called alike, with the same arguments; each computes its own share and
all return the same answer. The gradient is that of the whole update whatever the number of ranks: token weights come from all sequences,
DeepSpeed's mean over ranks is undone, and its own division by micro-batches is not used.

Tested with gloo on a CPU at 1, 2 and 4 ranks. On GPUs (NCCL, pinned host memory, overlapped communication) it has not been run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from reasonrl.train.deepspeed_files import read_ranks_files, write_ranks_files
from reasonrl.train.micro_batch_loss import Head, UpdateLoss, mark_old_logprobs, response_logprobs, token_tensors
from reasonrl.train.policy_module import no_loss, padding_sequences
from reasonrl.train.protocol import LossNotFiniteError, RanksLostError, TrainerError, TrainingSequence, UpdateSetting, UpdateStats
from reasonrl.train.rank_group import RankPlace, join_ranks, largest, leave_ranks, limit_waits, lost_peers_are_errors, summed
from reasonrl.train.rank_shares import micro_batches_of_ranks
from reasonrl.train.update_rules import ComputeRules, LossRules, OptimizerRules
from reasonrl.train.update_totals import TokenSums, UpdateTotals
from reasonrl.train.whole_weights import set_weight, whole_weights
from reasonrl.train.zero_models import ModelCall, ModelSource, ReferenceModel, reference_model, trained_model
from reasonrl.train.zero_rules import ZeroRules


class DeepSpeedTrainer:
    """A `Trainer` that is one of `place.world_size` ranks; every method is collective.

    When a rank dies or freezes, the others raise RanksLostError within `place.timeout_seconds`, and every call after that raises it at
    once: all ranks must be started again. What is wrong with the arguments or the numbers is raised on all ranks alike and leaves the
    trainer usable.
    """

    def __init__(
        self,
        model: ModelSource,
        *,
        place: RankPlace,
        zero: ZeroRules,
        loss: LossRules,
        optimizer: OptimizerRules,
        compute: ComputeRules,
        keep_reference: bool,
    ) -> None:
        self._place = place
        self._loss = loss
        self._optimizer_rules = optimizer
        self._compute = compute
        self._lost: RanksLostError | None = None
        self._device = join_ranks(place)
        with self._together():
            self._policy = trained_model(model, zero=zero, optimizer=optimizer, compute=compute, device=self._device)
            limit_waits(place)
            self._reference: ReferenceModel | None = None
            if keep_reference:
                self._reference = reference_model(model, zero=zero, compute=compute, device=self._device)
                limit_waits(place)
                self._copy_policy(self._reference)

    @property
    def model(self) -> PreTrainedModel:
        """The policy. At ZeRO stage 3 this rank holds pieces of its weights: see `weights`."""
        return self._policy.model

    @property
    def device(self) -> torch.device:
        return self._device

    def reference_logprobs(self, sequences: Sequence[TrainingSequence], *, temperature: float) -> list[Tensor]:
        if self._reference is None:
            raise TrainerError("this run holds no reference model: spec.algorithm.kl is off or spec.model.reference.enabled is false")
        with self._together():
            return self._logprobs(self._reference.call, sequences, temperature=temperature)

    def policy_logprobs(self, sequences: Sequence[TrainingSequence], *, temperature: float) -> list[Tensor]:
        """Log-probs `[time]` of each response under the current policy."""
        with self._together():
            return self._logprobs(self._policy.engine, sequences, temperature=temperature)

    def update(self, updates: Sequence[Sequence[TrainingSequence]], *, setting: UpdateSetting) -> UpdateStats:
        """One optimizer update for each inner sequence.

        Raises, before the optimizer moves and on all ranks, LossNotFiniteError when a gradient is not finite, and TrainerError when KL is
        in the loss and a sequence comes without reference log-probs.
        """
        loss = UpdateLoss(self._loss, setting)
        loss.check(updates)
        with self._together():
            later = mark_old_logprobs(updates, rules=self._loss)
            for sequence, logprobs in zip(later, self.policy_logprobs(later, temperature=setting.temperature), strict=True):
                sequence.old_logprobs = logprobs
            totals = UpdateTotals()
            self._policy.state.set_learning_rate(setting.learning_rate)
            for number, sequences in enumerate(updates):
                moving = self._accumulate_gradient(sequences, loss=loss, totals=totals, first=number == 0)
                norm = self._step() if moving else 0.0
                if not math.isfinite(norm):
                    raise LossNotFiniteError(
                        f"the gradient norm of update {number + 1} of {len(updates)} is {norm}; no weight was changed by it. "
                        "Lower spec.algorithm.optimizer.learningRate, or look at the rewards and log-probs of this step"
                    )
                totals.add_update(gradient_norm=norm)
            own = totals.sums()
            return totals.stats(TokenSums(sums=summed(own.sums, self._device), gap_max=largest(own.gap_max, self._device)))

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Whole tensors by their Hugging Face names, tied ones once, in the dtype of the ranks' weights (bfloat16 of the masters at
        stages 1 to 3 when products are computed in it). At stage 3 every rank must go through all of them, also one that needs none;
        they are brought together a few at a time."""
        with self._together():
            yield from whole_weights(self._policy.model)

    def reset_reference(self, *, reset_optimizer: bool) -> None:
        if self._reference is None:
            raise TrainerError("this run holds no reference model to reset")
        with self._together():
            self._copy_policy(self._reference)
            if reset_optimizer:
                self._policy.state.forget()

    def save(self, directory: Path) -> None:
        """See `deepspeed_files`. `directory` must be the same place for all ranks."""
        with self._together():
            write_ranks_files(directory, place=self._place, trained=self._policy, reference=self._reference, dtype=self._compute.dtype)

    def load(self, directory: Path) -> None:
        with self._together():
            read_ranks_files(directory, trained=self._policy, reference=self._reference)

    def close(self) -> None:
        """Gives up this process's rank; DeepSpeed does not let it become one again. The other ranks should be done too: a call of theirs
        would fail."""
        leave_ranks()

    def _accumulate_gradient(self, sequences: Sequence[TrainingSequence], *, loss: UpdateLoss, totals: UpdateTotals, first: bool) -> bool:
        """Adds this rank's share of the gradient; False, on all ranks, when no sequence has any."""
        weights = loss.token_weights(sequences)
        learning = [index for index, sequence in enumerate(sequences) if loss.has_gradient(sequence)]
        if not learning:
            return False
        engine = self._policy.engine
        cuts = self._cuts([sequences[index] for index in learning])
        for number, cut in enumerate(cuts):
            rows = [learning[place] for place in cut]
            batch = [sequences[row] for row in rows]

            def loss_of(hidden: Tensor, head: Head, rows: list[int] = rows, batch: list[TrainingSequence] = batch) -> Tensor:
                tokens = token_tensors(batch, [weights[row] for row in rows], device=self._device)
                return loss.of_micro_batch(hidden, head, tokens, totals=totals, first=first)

            engine.set_gradient_accumulation_boundary(number == len(cuts) - 1)
            part = engine(batch, loss_of) if batch else engine(padding_sequences(), no_loss)
            # DeepSpeed takes the mean over ranks; shares of one gradient are to be summed.
            engine.backward(part * self._place.world_size, scale_wrt_gas=False)
        return True

    def _step(self) -> float:
        """Moves the weights and returns the gradient's norm before clipping; leaves them and returns what is not finite."""
        engine = self._policy.engine
        if self._policy.stage > 0:
            engine.step()
            return float(engine.get_global_grad_norm())
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._optimizer_rules.max_gradient_norm))
        if math.isfinite(norm):
            engine.step()
        else:
            engine.zero_grad()
        return norm

    @torch.no_grad()
    def _logprobs(self, call: ModelCall, sequences: Sequence[TrainingSequence], *, temperature: float) -> list[Tensor]:
        if not sequences:
            return []
        lengths = [sequence.response_length for sequence in sequences]
        found = [torch.zeros(length) for length in lengths]
        for rows in self._cuts(sequences):
            batch = [sequences[row] for row in rows]

            def logprobs_of(hidden: Tensor, head: Head, batch: list[TrainingSequence] = batch) -> Tensor:
                return torch.cat(response_logprobs(hidden, head, batch, temperature=temperature))

            if not batch:
                call(padding_sequences(), no_loss)
                continue
            parts = torch.split(call(batch, logprobs_of), [lengths[row] for row in rows])
            for row, part in zip(rows, parts, strict=True):
                found[row] = part
        # Each response is computed by one rank and zero on the others, so that the sum is exact.
        return list(torch.split(summed(torch.cat(found), self._device), lengths))

    def _cuts(self, sequences: Sequence[TrainingSequence]) -> list[list[int]]:
        """This rank's micro-batches, as indices; an empty one stands for padding."""
        lengths = [int(sequence.tokens.numel()) for sequence in sequences]
        cuts = micro_batches_of_ranks(lengths, ranks=self._place.world_size, token_budget=self._compute.tokens_per_micro_batch)
        return cuts[self._place.rank]

    def _copy_policy(self, reference: ReferenceModel) -> None:
        parameters = dict(reference.model.named_parameters())
        for name, tensor in whole_weights(self._policy.model):
            set_weight(parameters[name], tensor)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """A collective call: a lost peer ends it with RanksLostError, and all calls after it."""
        if self._lost is not None:
            raise RanksLostError(str(self._lost))
        try:
            with lost_peers_are_errors(self._place):
                yield
        except RanksLostError as error:
            self._lost = error
            raise
