"""Corrections for the gap between the policy that sampled and the policy that the trainer computes.

A rollout engine's kernels, dtype and weight age make its distribution μ differ from the trainer's π_old even for the same weights.
The token loss is multiplied by `sg(w)` with `w` from `π_old / μ`, truncated or masked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from reasonrl.rl.losses import LOG_RATIO_LIMIT, sequence_means


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportanceCorrection:
    """`truncate`: `min(r, cap)`, truncated importance sampling (Yao et al. 2025); `floor` is unused. `mask`: `r` inside
    `[floor, cap]`, else 0 (IcePop, Ring-1T). `none`: 1. At level `sequence`, `r` is the geometric mean of the token ratios of a
    sequence, and a mask drops the sequence whole."""

    kind: Literal["truncate", "mask", "none"]
    level: Literal["token", "sequence"] = "token"
    cap: float = 2.0
    floor: float = 0.5


class ImportanceWeights(NamedTuple):
    """`weights` `[tokens]`, detached; `corrected` `[tokens]` in {0, 1}: 1 where the cap or the mask decided."""

    weights: Tensor
    corrected: Tensor


@torch.no_grad()
def importance_weights(
    old_logprobs: Tensor, sampler_logprobs: Tensor, *, mask: Tensor, sequence_ids: Tensor, correction: ImportanceCorrection
) -> ImportanceWeights:
    """Weights for the token losses; all tensors `[tokens]`. `sequence_ids` int64 numbers the sequences of this call from 0, and
    `mask` in {0, 1} says which tokens make up a sequence's ratio; both matter at level `sequence` only, which must see each sequence
    complete. The log ratio is clamped to ± `LOG_RATIO_LIMIT`, so weights are finite."""
    if correction.kind == "none":
        return ImportanceWeights(torch.ones_like(old_logprobs), torch.zeros_like(old_logprobs))
    log_ratio = old_logprobs - sampler_logprobs
    if correction.level == "sequence":
        log_ratio = sequence_means(log_ratio, mask=mask, sequence_ids=sequence_ids)[sequence_ids]
    ratio = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    if correction.kind == "truncate":
        return ImportanceWeights(ratio.clamp(max=correction.cap), (ratio > correction.cap).to(ratio.dtype))
    outside = (ratio < correction.floor) | (ratio > correction.cap)
    return ImportanceWeights(ratio.masked_fill(outside, 0.0), outside.to(ratio.dtype))
