"""Policy losses, token by token, by their name in the spec.

A loss is a pure function of the policy's, the old policy's log-probs and the advantages of the same tokens. It returns one value a
token; how they are summed is `aggregation`'s business. `LOSSES` is the registry: a new loss is one function and one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

LOG_RATIO_LIMIT = 20.0
"""Log ratios are clamped to ± this many nats before `exp`, so that a ratio is finite and a zero advantage times it is zero. Beyond it
the token has no gradient through the ratio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSetting:
    """The trust region: the ratio is clipped to `[1 − low, 1 + high]`. `dual` is the bound `c > 1` of dual clip (None = off)."""

    low: float
    high: float
    dual: float | None = None


class TokenLoss(NamedTuple):
    """`loss` `[tokens]`, to minimise; `clipped` `[tokens]` float in {0, 1}: 1 where the clip decided the value."""

    loss: Tensor
    clipped: Tensor


LossFunction = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, ClipSetting], TokenLoss]
"""`(logprobs, old_logprobs, advantages, mask, sequence_ids, clip)`, every tensor `[tokens]`."""


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """A registered loss. `whole_sequences` says that a token's loss depends on its sequence's other tokens, so that a call must see
    each sequence complete (and the fused head loss cannot be used)."""

    compute: LossFunction
    whole_sequences: bool


def clip_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, sequence_ids: Tensor, clip: ClipSetting
) -> TokenLoss:
    """Clipped surrogate `−min(ρA, clip(ρ, 1−low, 1+high)A)` (Schulman et al. 2017, arXiv 1707.06347, eq. 7; asymmetric bounds from
    DAPO, arXiv 2503.14476), all `[tokens]`. Dual clip bounds the loss of negative advantages by `−c·A` (Ye et al., arXiv 1912.09729)."""
    return _clipped_surrogate(_ratio(logprobs - old_logprobs), advantages, clip)


def gspo_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, sequence_ids: Tensor, clip: ClipSetting
) -> TokenLoss:
    """Clipped surrogate of the sequence ratio `s = exp(mean_t log ρ_t)` over masked tokens (Zheng et al. 2025, arXiv 2507.18071, in
    the token form `sg(s)·π/sg(π)` of its section 4.3, which lets advantages differ within a sequence).

    `sequence_ids` int64 `[tokens]` numbers the sequences of this call from 0; `mask` `[tokens]` in {0, 1}. With `sequenceMean`
    aggregation the gradient is that of the sequence form.
    """
    log_ratio = logprobs - old_logprobs
    sequence_log_ratio = sequence_means(log_ratio.detach(), mask=mask, sequence_ids=sequence_ids)[sequence_ids]
    return _clipped_surrogate(_ratio(sequence_log_ratio + logprobs - logprobs.detach()), advantages, clip)


def cispo_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, sequence_ids: Tensor, clip: ClipSetting
) -> TokenLoss:
    """`−sg(min(ρ, 1+high))·A·log π` (MiniMax-M1, arXiv 2506.13585, eq. 4–5, no lower bound): the weight is truncated, and no token
    loses its gradient. `clip.low` and `clip.dual` are unused. `clipped` marks truncated weights of either sign of advantage."""
    ratio = _ratio(logprobs.detach() - old_logprobs)
    bound = 1.0 + clip.high
    return TokenLoss(loss=-ratio.clamp(max=bound) * advantages * logprobs, clipped=(ratio > bound).to(ratio.dtype))


def sequence_means(values: Tensor, *, mask: Tensor, sequence_ids: Tensor) -> Tensor:
    """Mean of `values` `[tokens]` over each sequence's masked tokens, `[sequences]`; 0 for a sequence without any."""
    count = int(sequence_ids.max()) + 1 if sequence_ids.numel() else 0
    sums = torch.zeros(count, dtype=values.dtype, device=values.device).index_add_(0, sequence_ids, torch.where(mask > 0, values, 0.0))
    tokens = torch.zeros_like(sums).index_add_(0, sequence_ids, (mask > 0).to(values.dtype))
    return sums / tokens.clamp(min=1.0)


def _ratio(log_ratio: Tensor) -> Tensor:
    return log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def _clipped_surrogate(ratio: Tensor, advantages: Tensor, clip: ClipSetting) -> TokenLoss:
    free = -ratio * advantages
    bounded = -ratio.clamp(1.0 - clip.low, 1.0 + clip.high) * advantages
    loss = torch.maximum(free, bounded)
    clipped = bounded > free
    if clip.dual is not None:
        ceiling = -clip.dual * advantages
        over = (advantages < 0) & (loss > ceiling)
        loss = torch.where(over, ceiling, loss)
        clipped = clipped | over
    return TokenLoss(loss=loss, clipped=clipped.to(ratio.dtype))


LOSSES: Mapping[str, PolicyLoss] = {
    "clip": PolicyLoss(clip_loss, whole_sequences=False),
    "gspo": PolicyLoss(gspo_loss, whole_sequences=True),
    "cispo": PolicyLoss(cispo_loss, whole_sequences=False),
}
