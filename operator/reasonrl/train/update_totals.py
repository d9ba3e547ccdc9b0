"""Sums over the tokens of one step's updates, kept as tensors until the end so that no number is read back from a device midway."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from reasonrl.train.protocol import UpdateStats


@dataclass(slots=True)
class UpdateTotals:
    """Means are over tokens with mask 1, which are the tokens that took part in a gradient."""

    _loss: list[Tensor] = field(default_factory=list)
    _tokens: list[Tensor] = field(default_factory=list)
    _entropy: list[Tensor] = field(default_factory=list)
    _clipped: list[Tensor] = field(default_factory=list)
    _gap_sum: list[Tensor] = field(default_factory=list)
    _gap_max: list[Tensor] = field(default_factory=list)
    _gap_tokens: list[Tensor] = field(default_factory=list)
    _gradient_norms: list[float] = field(default_factory=list)

    def add_tokens(self, *, loss: Tensor, mask: Tensor, entropy: Tensor, clipped: Tensor, sampler_gap: Tensor | None) -> None:
        """All `[tokens]` but `loss`, a scalar. `sampler_gap` is given for the tokens of the first update only."""
        self._loss.append(loss)
        self._tokens.append(mask.sum())
        self._entropy.append((entropy * mask).sum())
        self._clipped.append((clipped * mask).sum())
        if sampler_gap is not None:
            masked = sampler_gap * mask
            self._gap_sum.append(masked.sum())
            self._gap_max.append(masked.max())
            self._gap_tokens.append(mask.sum())

    def add_update(self, *, gradient_norm: float) -> None:
        self._gradient_norms.append(gradient_norm)

    def stats(self) -> UpdateStats:
        """Zeros when nothing had a gradient."""
        tokens = _total(self._tokens)
        divisor = max(tokens, 1.0)
        gap_tokens = max(_total(self._gap_tokens), 1.0)
        updates = len(self._gradient_norms)
        return UpdateStats(
            loss=_total(self._loss) / updates,
            entropy=_total(self._entropy) / divisor,
            clip_fraction=_total(self._clipped) / divisor,
            gradient_norm=sum(self._gradient_norms) / updates,
            sampler_gap_mean=_total(self._gap_sum) / gap_tokens,
            sampler_gap_max=float(torch.stack(self._gap_max).max()) if self._gap_max else 0.0,
            updates=updates,
            tokens=int(tokens),
        )


def _total(parts: list[Tensor]) -> float:
    return float(torch.stack(parts).sum()) if parts else 0.0
