"""Laying supervised examples out in rows for one forward pass.

Plain rows hold one example each and are padded on the right to the longest of their micro-batch; examples of like length share one.
Packed rows hold several examples one after another, which wastes almost nothing; each starts at position 0 again and attends to itself
alone (a block mask), so packing changes the speed and never the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from reasonrl.train.batching import micro_batches

_WORTHWHILE_TOKENS = 512
"""A micro-batch of fewer tokens costs more in overhead than its padding does (measured on a CPU)."""


class Example(Protocol):
    """A prompt and the response to imitate, as token ids; the first `prompt_length` are the prompt."""

    @property
    def tokens(self) -> Sequence[int]: ...
    @property
    def prompt_length(self) -> int: ...


@dataclass(frozen=True, slots=True)
class TokenRows:
    """One micro-batch. `tokens` int64 `[rows, time]`; `predictors` int64 `[responseTokens]` are the flat places whose hidden state predicts
    a response token, `targets` int64 `[responseTokens]` those tokens. `packing` is None when each row holds one example: then causal
    attention over right padding needs neither positions nor a mask, as no real token looks at a later place."""

    tokens: torch.Tensor
    predictors: torch.Tensor
    targets: torch.Tensor
    packing: Packing | None


@dataclass(frozen=True, slots=True)
class Packing:
    """`positions` int64 `[rows, time]`, from 0 in each example; `mask` float32 `[rows, 1, time, time]`, 0 where a place may attend and −∞
    where not."""

    positions: torch.Tensor
    mask: torch.Tensor


def plain_rows(examples: Sequence[Example], *, token_budget: int) -> list[TokenRows]:
    """Micro-batches of at most `token_budget` tokens, padding included, of examples of like length: no row of a micro-batch that is worth
    its while (`_WORTHWHILE_TOKENS`) is padded by more than a third."""
    ordered = sorted(examples, key=lambda each: -len(each.tokens))
    cuts: list[list[Example]] = []
    for example in ordered:
        width = len(cuts[-1][0].tokens) if cuts else 0
        full = not cuts or width * (len(cuts[-1]) + 1) > token_budget
        wasteful = bool(cuts) and width * len(cuts[-1]) >= _WORTHWHILE_TOKENS and 4 * len(example.tokens) < 3 * width
        if full or wasteful:
            cuts.append([])
        cuts[-1].append(example)
    return [_laid_out([[example] for example in cut]) for cut in cuts]


def packed_rows(examples: Sequence[Example], *, row_tokens: int, token_budget: int) -> list[TokenRows]:
    """Micro-batches of at most `token_budget` tokens in rows filled by first fit, longest first.

    Rows are as long as the longest example, because the cost of attention and of its mask grows with the square of the row; if that is
    longer than `row_tokens`, each such example has a row of its own.
    """
    row_tokens = min(row_tokens, max(len(example.tokens) for example in examples))
    rows: list[list[Example]] = []
    room: list[int] = []
    for example in sorted(examples, key=lambda each: -len(each.tokens)):
        needed = len(example.tokens)
        place = next((index for index, left in enumerate(room) if left >= needed), None)
        if place is None:
            place = len(rows)
            rows.append([])
            room.append(row_tokens)
        rows[place].append(example)
        room[place] -= needed
    cuts = micro_batches([sum(len(example.tokens) for example in row) for row in rows], token_budget=token_budget)
    return [_laid_out([rows[index] for index in cut]) for cut in cuts]


def _laid_out(rows: Sequence[Sequence[Example]]) -> TokenRows:
    width = max(sum(len(example.tokens) for example in row) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    positions = torch.zeros(len(rows), width, dtype=torch.long)
    # Padding belongs to no example; it attends to its like, because a row of the softmax must not be empty.
    owner = torch.full((len(rows), width), -1)
    predictors: list[torch.Tensor] = []
    targets: list[torch.Tensor] = []
    for number, row in enumerate(rows):
        start = 0
        for index, example in enumerate(row):
            ids = torch.tensor(example.tokens)
            end = start + len(ids)
            tokens[number, start:end] = ids
            positions[number, start:end] = torch.arange(len(ids))
            owner[number, start:end] = index
            flat = number * width + start
            predictors.append(torch.arange(flat + example.prompt_length - 1, flat + len(ids) - 1))
            targets.append(ids[example.prompt_length :])
            start = end
    packed = any(len(row) > 1 for row in rows)
    return TokenRows(
        tokens=tokens,
        predictors=torch.cat(predictors),
        targets=torch.cat(targets),
        packing=Packing(positions, _block_mask(owner)) if packed else None,
    )


def _block_mask(owner: torch.Tensor) -> torch.Tensor:
    width = owner.shape[1]
    same = owner[:, :, None] == owner[:, None, :]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    return torch.zeros(same.shape).masked_fill(~(same & causal), float("-inf"))[:, None]
