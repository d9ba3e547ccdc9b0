"""The rollout engine that a job asks for, in this process."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.api.job import JobSpec
from reasonrl.rollout.end_tokens import end_tokens_of
from reasonrl.rollout.protocol import RolloutEngine
from reasonrl.rollout.torch_engine import TorchEngine
from reasonrl.train.trainer_files import write_policy

ENGINE_DIRECTORY = ".engine"


def make_engine(spec: JobSpec, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, directory: Path) -> RolloutEngine:
    """Samples with `model`'s weights as they are now. vLLM loads from files: they are written below `directory` first."""
    dtype = getattr(torch, spec.rollout.dtype or spec.model.dtype)
    if spec.rollout.engine == "torch":
        return TorchEngine(
            model, tokenizer, stop_token_ids=end_tokens_of(model, tokenizer), max_sequences=spec.rollout.max_sequences, dtype=dtype
        )
    from reasonrl.rollout.vllm_engine import VllmEngine

    path = directory / ENGINE_DIRECTORY
    write_policy(path, model=model, dtype=dtype)
    longest = max(phase.max_response_tokens for phase in spec.phases)
    return VllmEngine(
        path,
        tokenizer,
        stop_token_ids=end_tokens_of(model, tokenizer),
        max_sequences=spec.rollout.max_sequences,
        context_tokens=spec.prompt.max_tokens + max(longest, *(each.max_response_tokens or 0 for each in spec.evaluation.benchmarks), 0),
        dtype=dtype,
        key_value_cache_bytes=spec.rollout.key_value_cache,
        memory_utilization=spec.rollout.memory_utilization,
    )
