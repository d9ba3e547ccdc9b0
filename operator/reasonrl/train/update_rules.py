"""What is fixed about a trainer for a whole run, as plain values: how the loss is made, how the optimizer steps, how work is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from reasonrl.rl.importance import ImportanceCorrection
from reasonrl.rl.kl import KLTerm


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRules:
    """`loss` and `aggregation` are names in `rl.losses.LOSSES` and `rl.aggregation.AGGREGATIONS`. `old_logprobs` says whose
    log-probs the ratio is taken against: the trainer's own at the start of the step, or the sampler's. `kl` None means that no
    KL is computed at all."""

    loss: str
    aggregation: str
    dual_clip: float | None
    correction: ImportanceCorrection
    old_logprobs: Literal["trainer", "sampler"]
    kl: KLTerm | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerRules:
    """AdamW. Weight decay applies to matrices only, not to norms and biases."""

    betas: tuple[float, float]
    epsilon: float
    weight_decay: float
    max_gradient_norm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeRules:
    """`tokens_per_micro_batch` bounds longest × count; `logits_chunk_tokens` is how many rows of logits exist at once. `dtype` is
    what matrix products are computed in: the weights themselves and the optimizer stay in float32."""

    tokens_per_micro_batch: int
    logits_chunk_tokens: int
    gradient_checkpointing: bool
    dtype: torch.dtype
