"""The rollout engine that a job asks for, in this process: beside a trainer on one machine, or alone in a rollout pod."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.api.job import JobSpec
from reasonrl.rollout.end_tokens import end_tokens_of
from reasonrl.rollout.protocol import RolloutEngine
from reasonrl.rollout.stepping import BlockingEngineSteps, SteppingEngine
from reasonrl.rollout.torch_engine import TorchEngine
from reasonrl.train.trainer_files import write_policy

ENGINE_DIRECTORY = ".engine"


def make_engine(spec: JobSpec, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, directory: Path) -> RolloutEngine:
    """Samples with `model`'s weights as they are now. vLLM loads from files: they are written below `directory` first."""
    dtype = engine_dtype(spec)
    if spec.rollout.engine == "torch":
        return TorchEngine(
            model, tokenizer, stop_token_ids=end_tokens_of(model, tokenizer), max_sequences=spec.rollout.max_sequences, dtype=dtype
        )
    from reasonrl.rollout.vllm_engine import VllmEngine

    path = directory / ENGINE_DIRECTORY
    write_policy(path, model=model, dtype=dtype)
    return VllmEngine(
        path,
        tokenizer,
        stop_token_ids=end_tokens_of(model, tokenizer),
        max_sequences=spec.rollout.max_sequences,
        context_tokens=context_tokens(spec),
        dtype=dtype,
        key_value_cache_bytes=spec.rollout.key_value_cache,
        memory_utilization=spec.rollout.memory_utilization,
    )


def make_empty_engine(
    spec: JobSpec, directory: Path, tokenizer: PreTrainedTokenizerBase, *, stop_token_ids: Collection[int]
) -> SteppingEngine:
    """An engine for the model whose configuration is in `directory`, with random weights: `load` must come before the first task."""
    dtype = engine_dtype(spec)
    if spec.rollout.engine == "torch":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory), dtype=torch.float32).to(device)
        engine = TorchEngine(model, tokenizer, stop_token_ids=stop_token_ids, max_sequences=spec.rollout.max_sequences, dtype=dtype)
        return BlockingEngineSteps(engine)
    from reasonrl.rollout.vllm_engine import VllmEngine

    return VllmEngine(
        directory,
        tokenizer,
        stop_token_ids=stop_token_ids,
        max_sequences=spec.rollout.max_sequences,
        context_tokens=context_tokens(spec),
        dtype=dtype,
        key_value_cache_bytes=spec.rollout.key_value_cache,
        memory_utilization=spec.rollout.memory_utilization,
        tensor_parallel=max(1, spec.rollout.gpus_per_replica),
        random_weights=True,
        can_sleep=spec.rollout.placement == "Colocated",
    )


def engine_dtype(spec: JobSpec) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, spec.rollout.dtype or spec.model.dtype)
    return dtype


def context_tokens(spec: JobSpec) -> int:
    """Room for the longest prompt with the longest response of any phase or benchmark."""
    longest = max(phase.max_response_tokens for phase in spec.phases)
    return spec.prompt.max_tokens + max(longest, *(each.max_response_tokens or 0 for each in spec.evaluation.benchmarks), 0)
