"""A tiny policy and sequences to learn from."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from reasonrl.rl.importance import ImportanceCorrection
from reasonrl.train.protocol import TrainingSequence, UpdateSetting
from reasonrl.train.torch_engine import TorchTrainer
from reasonrl.train.update_rules import ComputeRules, LossRules, OptimizerRules

VOCABULARY = 37


def tiny_model(seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    return Qwen2ForCausalLM(config)


def tiny_trainer(
    *,
    loss: str = "clip",
    aggregation: str = "tokenMean",
    kl=None,
    old_logprobs: str = "trainer",
    tokens_per_micro_batch: int = 10_000,
    dtype: torch.dtype = torch.float32,
    gradient_checkpointing: bool = False,
    correction: ImportanceCorrection | None = None,
    max_gradient_norm: float = 1e9,
) -> TorchTrainer:
    return TorchTrainer(
        tiny_model(),
        loss=LossRules(
            loss=loss,
            aggregation=aggregation,
            dual_clip=None,
            correction=correction or ImportanceCorrection(kind="truncate"),
            old_logprobs=old_logprobs,
            kl=kl,
        ),
        optimizer=OptimizerRules(betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.01, max_gradient_norm=max_gradient_norm),
        compute=ComputeRules(
            tokens_per_micro_batch=tokens_per_micro_batch,
            logits_chunk_tokens=7,
            gradient_checkpointing=gradient_checkpointing,
            dtype=dtype,
        ),
        keep_reference=kl is not None,
    )


def random_sequences(count: int, seed: int = 1) -> list[TrainingSequence]:
    generator = torch.Generator().manual_seed(seed)

    def integer(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    sequences = []
    for _ in range(count):
        prompt, time = integer(1, 6), integer(1, 20)
        sequences.append(
            TrainingSequence(
                tokens=torch.randint(0, VOCABULARY, (prompt + time,), generator=generator),
                prompt_length=prompt,
                advantages=torch.randn((), generator=generator).expand(time).clone(),
                mask=torch.ones(time),
                sampler_logprobs=-3.6 + 0.3 * torch.randn(time, generator=generator),
            )
        )
    return sequences


def some_setting(**changes: float) -> UpdateSetting:
    values = {
        "learning_rate": 1e-2,
        "temperature": 1.0,
        "kl_coefficient": 0.0,
        "entropy_coefficient": 0.0,
        "clip_low": 0.2,
        "clip_high": 0.28,
        "constant_length": 20,
        **changes,
    }
    return UpdateSetting(**values)  # type: ignore[arg-type]


@pytest.fixture
def make_trainer() -> Callable[..., TorchTrainer]:
    return tiny_trainer


@pytest.fixture
def make_sequences() -> Callable[..., list[TrainingSequence]]:
    return random_sequences


@pytest.fixture
def make_setting() -> Callable[..., UpdateSetting]:
    return some_setting
