"""Cutting an update into micro-batches by token budget.

Responses differ in length by an order of magnitude. Sorted by length, neighbours differ little, so a micro-batch of neighbours
that is padded only to its own longest wastes little; no sequence is ever padded to the batch's longest.
"""

from __future__ import annotations

from collections.abc import Sequence


def micro_batches(lengths: Sequence[int], *, token_budget: int) -> list[list[int]]:
    """Indices into `lengths`, longest first, such that longest × count ≤ `token_budget` in each micro-batch.

    A sequence that alone exceeds the budget gets a micro-batch of its own. Deterministic: ties keep their order.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    width = 0
    for index in order:
        if not batches or width * (len(batches[-1]) + 1) > token_budget:
            batches.append([])
            width = max(lengths[index], 1)
        batches[-1].append(index)
    return batches
