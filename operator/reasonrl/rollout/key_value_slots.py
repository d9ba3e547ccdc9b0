"""The key-value cache of a decoding batch: preallocated rows, aligned at their newest token.

Every live row writes its next key and value at the same *time*, whatever its length, so a decoding step stores a whole batch with one
slice copy a layer and attention reads one slice. A row's own start says how far back it may look. Times only grow; `origin` maps
them to slots, and the live window is moved to the front when the slots run out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

_GROWTH = 1.5
_REBASE_SHARE = 0.75


class KeyValueSlots:
    """Keys and values of `rows` sequences.

    `storage` holds tensors `[layers, parts, rows, heads, capacity, size]`, as few as the model's shapes allow: one for all layers, with
    keys and values as its two parts, where they are all alike. All are zero at first and stay finite, since attention
    weighs slots outside a row's range with exactly zero.
    """

    def __init__(self, storage: list[Tensor]) -> None:
        self.storage = storage
        self.origin = 0

    @classmethod
    def for_prompts(cls, kept: Sequence[Tensor], *, rows: int, capacity: int) -> Self:
        """Empty slots shaped for the tensors `[layers, parts, prompts, heads, time, size]` that a prefill returned."""
        return cls([part.new_zeros((*part.shape[:2], rows, part.shape[3], capacity, part.shape[5])) for part in kept])

    @property
    def rows(self) -> int:
        return self.storage[0].shape[2]

    @property
    def capacity(self) -> int:
        return self.storage[0].shape[4]

    def reserve(self, *, rows: int, first: int, now: int, end: int) -> None:
        """Makes room for the times `[first, end)`. What the leading `rows` hold of the times `[first, now)` is kept."""
        if self.origin <= first and end - self.origin <= self.capacity:
            return
        needed = end - first
        grown = None if needed <= self.capacity * _REBASE_SHARE else max(needed, int(self.capacity * _GROWTH))
        start = max(first, self.origin)
        if rows == 0:
            # Nothing is live, and `now` may lie before the slots that an earlier call left behind.
            now = start
        for index, source in enumerate(self.storage):
            kept = source[:, :, :rows, :, start - self.origin : now - self.origin]
            if grown is None:
                target, kept = source, kept.clone()
            else:
                target = source.new_zeros((*source.shape[:4], grown, source.shape[5]))
            target[:, :, :rows, :, start - first : now - first] = kept
            self.storage[index] = target
        self.origin = first

    def write_prompts(self, kept: Sequence[Tensor], *, row: int, counts: Sequence[int], now: int) -> None:
        """Stores prompts that end just before the time `now`: prompt `i` in the next `counts[i]` rows, beginning at `row`."""
        slot = now - self.origin
        for stored, prompts in zip(self.storage, kept, strict=True):
            into = stored[:, :, row : row + sum(counts), :, slot - prompts.shape[4] : slot]
            if len(set(counts)) == 1:
                shape = (*into.shape[:2], len(counts), counts[0], *into.shape[3:])
                into.view(shape).copy_(prompts.unsqueeze(3))
            else:
                which = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
                into.copy_(prompts.index_select(2, which.to(prompts.device)))

    def move_row(self, *, source: int, target: int, first: int, now: int) -> None:
        """Copies the times `[first, now)` of row `source` over row `target`."""
        slots = slice(first - self.origin, now - self.origin)
        for stored in self.storage:
            stored[:, :, target, :, slots] = stored[:, :, source, :, slots]
