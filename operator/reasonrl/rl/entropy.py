"""The entropy bonus: one term of the token loss. Which coefficient applies at a step, fixed or adaptive, is a schedule's business."""

from __future__ import annotations

from torch import Tensor


def entropy_bonus(entropy: Tensor, *, coefficient: float) -> Tensor:
    """`−coefficient · H` `[tokens]`, to add to the token loss (Williams and Peng 1991; A3C, arXiv 1602.01783, section 4).

    `entropy` `[tokens]` in nats. It is summed with the token weights of the policy loss, so it obeys the same aggregation.
    """
    return -coefficient * entropy
