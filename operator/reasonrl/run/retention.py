"""Which checkpoints stay. A pure decision, so that it can be tested without a disk: the newest is always kept, then the last few,
the best few by a metric, and all of that within a byte budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRule:
    """`keep_best` counts checkpoints with the highest score; `max_bytes` None means no limit."""

    keep_last: int
    keep_best: int = 0
    max_bytes: int | None = None


def steps_to_delete(sizes: Mapping[int, int], scores: Mapping[int, float], rule: RetentionRule) -> list[int]:
    """Steps of the checkpoints to delete, oldest first.

    `sizes` bytes by step, of all checkpoints; `scores` the keep-best metric by step, where known. Ties go to the later step.
    Under the byte budget the oldest unscored go first, then the worst-scored; the newest stays even when it alone exceeds it.
    """
    if not sizes:
        return []
    newest = max(sizes)
    last = sorted(sizes)[-max(rule.keep_last, 1) :]
    ranked = sorted((step for step in sizes if step in scores), key=lambda step: (scores[step], step), reverse=True)
    best = ranked[: rule.keep_best]
    kept = set(last) | set(best)
    if rule.max_bytes is not None:
        expendable = [step for step in sorted(kept) if step not in best] + best[::-1]
        for step in expendable:
            if sum(sizes[each] for each in kept) <= rule.max_bytes:
                break
            if step != newest:
                kept.discard(step)
    return sorted(set(sizes) - kept)
