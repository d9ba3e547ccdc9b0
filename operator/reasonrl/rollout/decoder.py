"""What the decoding loop asks of a model: run prompts once, then one token for each live row.

Two decoders answer: `lean_decoder` for the Llama-shaped family, written for few dispatches a token, and `transformers_decoder` for any
other causal language model whose cache is keys and values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from reasonrl.rollout.key_value_slots import KeyValueSlots

KeptPrompts = Sequence[Tensor]
"""The prompts' keys and values as `KeyValueSlots.storage` holds them: `[layers, parts, prompts, heads, time, size]` each."""


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the cache that a step works on: the leading `rows`, slots `first` up to and including `slot`, which the step writes.

    `starts` int64 `[rows]` is the slot of each row's first token. `bias` float `[rows, width]`, or None when every row starts at
    `first`: what to add to the attention scores of the slots `[first, first + width)`, −inf before a row's start and 0 after.
    """

    slots: KeyValueSlots
    rows: int
    first: int
    slot: int
    starts: Tensor
    bias: Tensor | None


class Decoder(Protocol):
    @property
    def device(self) -> torch.device: ...

    @property
    def vocabulary(self) -> int: ...

    @property
    def expected_weights(self) -> Mapping[str, Sequence[int]]:
        """Shape of each weight by its Hugging Face name; tied weights once."""
        ...

    @property
    def weight_aliases(self) -> Mapping[str, str]:
        """The other names of tied weights, and the name in `expected_weights` of each."""
        ...

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Copies the weights, checked and complete, into place."""
        ...

    def prepare(self, *, positions: int) -> None:
        """Gets ready for tokens at positions below `positions`."""
        ...

    def prefill(self, tokens: Tensor, lengths: Sequence[int]) -> tuple[Tensor, KeptPrompts]:
        """Runs prompts, `tokens` int64 `[prompts, time]` padded on the left to the longest of `lengths`.

        Returns the logits `[prompts, vocabulary]` for each one's next token, and what to cache, finite also in the padding.
        """
        ...

    def step(self, tokens: Tensor, positions: Tensor, window: Window) -> Tensor:
        """Caches one token a row (`tokens` and `positions` int64 `[rows]`) and returns the logits `[rows, vocabulary]` for the next."""
        ...
