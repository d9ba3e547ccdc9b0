"""The built-in rollout engine: samples from any transformers causal language model in this process, with torch alone.

It prefers the lean decoder where the model is of that family and agrees with it, and otherwise runs the library's own forward
pass; either way one loop batches continuously, shares a prompt's prefill among its group and drops finished rows.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from reasonrl.rl.records import FinishReason, Prompt, Response
from reasonrl.rollout.agreement import TOLERANCE, logprob_gap
from reasonrl.rollout.decoder import Decoder
from reasonrl.rollout.end_tokens import end_tokens_of
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.key_value_slots import KeyValueSlots
from reasonrl.rollout.lean_decoder import LeanDecoder
from reasonrl.rollout.lean_weights import misfit
from reasonrl.rollout.live_batch import LiveBatch, Written
from reasonrl.rollout.protocol import SamplingSetting
from reasonrl.rollout.request_check import check_request
from reasonrl.rollout.response_text import response_texts
from reasonrl.rollout.transformers_decoder import TransformersDecoder
from reasonrl.rollout.weight_check import checked_weights

logger = logging.getLogger(__name__)


class TorchEngine:
    """Samples with a copy of `model`'s weights; the model itself is not kept, and may go on training.

    `stop_token_ids` end a response. `max_sequences` rows are decoded at once, further requests wait and take rows as they become
    free. `dtype` (float32 or bfloat16, the model's own by default) is that of weights and cache: the softmax and the log-probs
    are float32. `device` defaults to the model's. Raises RolloutError when a setting is out of range, or when no decoder
    reproduces the model's log-probs within `agreement.TOLERANCE`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        stop_token_ids: Collection[int],
        max_sequences: int,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if max_sequences < 1:
            raise RolloutError(f"spec.rollout.maxSequences must be at least 1, got {max_sequences}")
        self._tokenizer = tokenizer
        self._max_sequences = max_sequences
        self._context_tokens: int | None = getattr(model.config, "max_position_embeddings", None)
        place = torch.device(device) if device is not None else next(model.parameters()).device
        self._decoder = _decoder_for(model, dtype=dtype or model.dtype, device=place)
        strange = [token for token in stop_token_ids if not 0 <= token < self._decoder.vocabulary]
        if strange:
            raise RolloutError(f"the end tokens {strange} are not in the model's vocabulary of {self._decoder.vocabulary}")
        self._stop_token_ids = frozenset(stop_token_ids)
        self._ends = torch.zeros(self._decoder.vocabulary, dtype=torch.bool, device=place)
        self._ends[list(self._stop_token_ids)] = True
        self._slots: KeyValueSlots | None = None
        self._asleep = False
        self._version = 0

    @classmethod
    def from_directory(
        cls,
        path: Path | str,
        *,
        stop_token_ids: Collection[int] | None = None,
        max_sequences: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Loads model and tokenizer from a Hugging Face directory. End tokens are by default those of its generation settings,
        or else the tokenizer's. Raises RolloutError when there are none."""
        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
        ends = end_tokens_of(model, tokenizer) if stop_token_ids is None else stop_token_ids
        return cls(model, tokenizer, stop_token_ids=ends, max_sequences=max_sequences, dtype=dtype, device=device)

    @property
    def weight_version(self) -> int:
        return self._version

    @property
    def decoder_name(self) -> str:
        """`LeanDecoder` or `TransformersDecoder`: which one the start-up check chose."""
        return type(self._decoder).__name__

    def sample(self, prompts: Sequence[Prompt], *, responses_per_prompt: int, setting: SamplingSetting) -> list[tuple[Response, ...]]:
        """See `RolloutEngine.sample`. On one machine with one number of threads, the same call gives the same bits.

        Raises RolloutError for a setting out of range, a prompt that leaves no room in the model's context, log-probs that
        are not finite, or after a sleep without a load.
        """
        if self._asleep:
            raise RolloutError("the engine slept; load a full set of weights first")
        if not prompts:
            return []
        check_request(prompts, responses_per_prompt=responses_per_prompt, setting=setting, context_tokens=self._context_tokens)
        with torch.inference_mode():
            batch = LiveBatch(
                self._decoder,
                [prompt.tokens for prompt in prompts],
                responses_per_prompt=responses_per_prompt,
                setting=setting,
                ends=self._ends,
                max_sequences=self._max_sequences,
                slots=self._slots,
            )
            written = batch.run()
            self._slots = batch.slots
        responses = self._responses(written)
        return [tuple(responses[start : start + responses_per_prompt]) for start in range(0, len(responses), responses_per_prompt)]

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        """See `RolloutEngine.load`. Copies into the storage that is there, in one pass, after the whole offer was checked."""
        offered = checked_weights(weights, expected=self._decoder.expected_weights, aliases=self._decoder.weight_aliases)
        self._decoder.load(offered)
        self._version = version
        self._asleep = False

    def sleep(self) -> None:
        """See `CanSleep`: gives the cache back, also to other processes on the same GPU. The weights stay where they are, for the copy
        that `load` makes into them."""
        self._asleep = True
        self._slots = None
        if self._ends.is_cuda:
            torch.cuda.empty_cache()

    def wake(self) -> None:
        """The cache comes back with the next call that needs it, as large as that call needs it."""

    def close(self) -> None:
        """Gives the cache back. The engine may be used again."""
        self._slots = None

    def _responses(self, written: Sequence[Written]) -> list[Response]:
        lengths = [len(one.tokens) for one in written]
        # Outside inference mode, and a clone each: a loss may keep these tensors, and a pickle must not drag the whole step along.
        every_token = torch.cat([one.tokens for one in written]).cpu()
        every_logprob = torch.cat([one.logprobs for one in written]).cpu()
        if not bool(every_logprob.isfinite().all()):
            self._slots = None
            raise RolloutError(
                f"the policy's log-probs are not finite at weight version {self._version}: the weights have diverged or hold NaN; "
                "lower spec.algorithm.optimizer.learningRate or resume from an earlier checkpoint"
            )
        tokens = [part.clone() for part in torch.split(every_token, lengths)]
        logprobs = [part.clone() for part in torch.split(every_logprob, lengths)]
        stopped = [one.stopped for one in written]
        texts = response_texts(self._tokenizer, tokens, stopped)
        return [
            Response(
                tokens=tokens[index],
                sampler_logprobs=logprobs[index],
                finish=FinishReason.STOP if stopped[index] else FinishReason.LENGTH,
                weight_version=self._version,
                text=texts[index],
            )
            for index in range(len(written))
        ]


def _decoder_for(model: Any, *, dtype: torch.dtype, device: torch.device) -> Decoder:
    if dtype not in TOLERANCE:
        raise RolloutError(f"spec.rollout.dtype must be float32 or bfloat16, got {dtype}")
    reason = misfit(model)
    if reason is None:
        lean = LeanDecoder(model, dtype=dtype, device=device)
        gap = logprob_gap(lean, model)
        if gap <= TOLERANCE[dtype]:
            return lean
        reason = f"its log-probs differ by {gap:.2g} nats"
    logger.info("the lean decoder is not used: %s; decoding with transformers' own forward pass", reason)
    decoder = TransformersDecoder(model, dtype=dtype, device=device)
    gap = logprob_gap(decoder, model)
    if gap > TOLERANCE[dtype]:
        raise RolloutError(
            f"spec.rollout.engine: cached decoding of {type(model).__name__} differs from its plain forward pass by {gap:.2g} nats, "
            f"more than the {TOLERANCE[dtype]} allowed for {dtype}; use engine: vllm"
        )
    return decoder
