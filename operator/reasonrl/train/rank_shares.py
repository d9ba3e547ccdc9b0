"""Who computes what when several ranks train together.

Every rank is given the whole update and finds its own share by the same rule, so nothing is sent around to agree on it. Ranks that
exchange gradients or weights inside a micro-batch must all make the same number of them; who has fewer makes up the number with empty
ones.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from reasonrl.train.batching import micro_batches


def rank_shares(lengths: Sequence[int], *, ranks: int) -> list[list[int]]:
    """Indices into `lengths` for each rank, about the same sum of lengths for each. Deterministic; a rank may get none."""
    loads = [(0, rank) for rank in range(ranks)]
    shares: list[list[int]] = [[] for _ in range(ranks)]
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        load, rank = heapq.heappop(loads)
        shares[rank].append(index)
        heapq.heappush(loads, (load + lengths[index], rank))
    return shares


def micro_batches_of_ranks(lengths: Sequence[int], *, ranks: int, token_budget: int) -> list[list[list[int]]]:
    """For each rank its micro-batches, the same number for all: indices into `lengths`, or none in a micro-batch that fills up."""
    cut = []
    for share in rank_shares(lengths, ranks=ranks):
        # In the order given, so that one rank alone computes exactly what a trainer without ranks does.
        rows = sorted(share)
        cut.append([[rows[place] for place in part] for part in micro_batches([lengths[row] for row in rows], token_budget=token_budget)])
    count = max(len(parts) for parts in cut)
    return [parts + [[]] * (count - len(parts)) for parts in cut]


def owners(sizes: Mapping[str, int], *, ranks: int) -> dict[str, int]:
    """Which rank writes which of the named things, about the same sum of `sizes` (bytes) for each."""
    names = list(sizes)
    shares = rank_shares([sizes[name] for name in names], ranks=ranks)
    return {names[index]: rank for rank, share in enumerate(shares) for index in share}
