"""A tiny policy and sequences to learn from, and ranks to train on."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


class RankNursery:
    """Runs jobs on freshly forked trainer ranks: see `deepspeed_ranks.py`, which does them and says what a job is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = (directory / "log").open("w+")
        self._jobs = 0
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("deepspeed_ranks.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""},
        )

    def __call__(self, *, world: int = 1, engine: str = "deepspeed", do: str = "learn", **job: Any) -> list[Any]:
        """What each rank found; None for a rank that did not live to tell. Fails when a rank raised what its job does not catch."""
        self._jobs += 1
        out = self._directory / f"job-{self._jobs}"
        out.mkdir()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, "engine": engine, "world": world, "out": str(out), **job}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the process that starts ranks died:\n{self.log()}"
        files = [out / f"rank-{rank}.pt" for rank in range(world)]
        found = [torch.load(file) if file.exists() else None for file in files]
        errors = [each["error"] for each in found if each is not None and "error" in each]
        assert not errors, f"{errors}\n{self.log()}"
        return found

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()[-5000:]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._log.close()


@pytest.fixture(scope="session")
def on_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RankNursery]:
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed (pip install 'reasonrl[cluster]')")
    nursery = RankNursery(tmp_path_factory.mktemp("ranks"))
    yield nursery
    nursery.close()
