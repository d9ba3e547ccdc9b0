"""Sums over the tokens of one step's updates, kept as tensors until the end so that no number is read back from a device midway."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from reasonrl.train.protocol import UpdateStats


@dataclass(frozen=True, slots=True)
class TokenSums:
    """`sums` float64 `[6]`, to be added up over ranks: loss, tokens, entropy, clipped tokens, sampler gap, tokens of that gap. `gap_max`
    float64 `[]`, of which the largest counts. Both on the CPU."""

    sums: Tensor
    gap_max: Tensor


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

    def sums(self) -> TokenSums:
        """What this process has counted; zeros when nothing had a gradient."""
        parts = (self._loss, self._tokens, self._entropy, self._clipped, self._gap_sum, self._gap_tokens)
        return TokenSums(
            sums=torch.stack([_total(part) for part in parts]),
            gap_max=torch.stack(self._gap_max).max().double().cpu() if self._gap_max else torch.zeros((), dtype=torch.float64),
        )

    def stats(self, sums: TokenSums | None = None) -> UpdateStats:
        """Zeros when nothing had a gradient. `sums` are those of all ranks, where there are several; by default this process's own."""
        found = self.sums() if sums is None else sums
        loss, tokens, entropy, clipped, gap_sum, gap_tokens = found.sums.tolist()
        divisor = max(tokens, 1.0)
        updates = len(self._gradient_norms)
        return UpdateStats(
            loss=loss / updates,
            entropy=entropy / divisor,
            clip_fraction=clipped / divisor,
            gradient_norm=sum(self._gradient_norms) / updates,
            sampler_gap_mean=gap_sum / max(gap_tokens, 1.0),
            sampler_gap_max=float(found.gap_max),
            updates=updates,
            tokens=int(tokens),
        )


def _total(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).double().sum().cpu() if parts else torch.zeros((), dtype=torch.float64)
