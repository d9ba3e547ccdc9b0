"""What a rollout engine raises when it cannot do what was asked, apart from `WeightLoadError`, which belongs to the protocol."""

from __future__ import annotations


class RolloutError(Exception):
    """The engine cannot sample what was asked. The message names the setting to change."""
