"""Our trainer as the benchmarks use it: DAPO's clip and token mean, truncated importance sampling, no KL, AdamW as torch has it."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from reasonrl.rl.importance import ImportanceCorrection
from reasonrl.train.torch_engine import TorchTrainer
from reasonrl.train.update_rules import ComputeRules, LossRules, OptimizerRules

CACHED_LOGITS = 2_000_000
"""So many logits at once are what a CPU's caches like best."""


def trainer_for(
    model: PreTrainedModel, *, vocabulary: int, dtype: torch.dtype, tokens_per_micro_batch: int, gradient_checkpointing: bool = False
) -> TorchTrainer:
    return TorchTrainer(
        model,
        loss=LossRules(
            loss="clip",
            aggregation="tokenMean",
            dual_clip=None,
            correction=ImportanceCorrection(kind="truncate"),
            old_logprobs="trainer",
            kl=None,
        ),
        optimizer=OptimizerRules(betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.0, max_gradient_norm=1.0),
        compute=ComputeRules(
            tokens_per_micro_batch=tokens_per_micro_batch,
            logits_chunk_tokens=max(256, CACHED_LOGITS // vocabulary),
            gradient_checkpointing=gradient_checkpointing,
            dtype=dtype,
        ),
        keep_reference=False,
    )
