"""What can befall a run across pods that is nobody's mistake: it goes on from its last checkpoint."""

from __future__ import annotations


class RankLostError(Exception):
    """A trainer rank died or no longer answers. Its process group cannot be used any more: all ranks start again."""


class ClusterStartError(Exception):
    """The pods did not come together within their deadline; the message names who is missing."""


class RayNodeError(Exception):
    """A pod's Ray node does not start or does not find its head; the message has the end of its log."""
