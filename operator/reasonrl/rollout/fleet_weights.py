"""Weights that a fleet may keep: a newcomer gets the ones last published, whatever the trainer has done to its own since.

A trainer's tensors change in place with its next update. A snapshot does not: either somebody published the weights somewhere safe
(across pods, in Ray's object store), or the fleet copies them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from reasonrl.rollout.errors import RolloutError


@runtime_checkable
class WeightSnapshot(Protocol):
    """A full set of weights that nobody changes any more, by Hugging Face parameter names; may be iterated any number of times."""

    @property
    def version(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]: ...


@runtime_checkable
class Publishable(Protocol):
    """Weights that lie elsewhere and can be made a snapshot there: they need not pass through this process."""

    def publish(self, *, version: int) -> WeightSnapshot: ...


@dataclass(frozen=True, slots=True)
class TensorSnapshot:
    """Copies in this process's memory."""

    version: int
    tensors: tuple[tuple[str, torch.Tensor], ...]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return iter(self.tensors)


def snapshot_of(weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> WeightSnapshot:
    """What `weights` publish, when they can; themselves, when they are a snapshot of `version` (RolloutError when it is one of another);
    else a copy in host memory."""
    if isinstance(weights, Publishable):
        return weights.publish(version=version)
    if isinstance(weights, WeightSnapshot):
        if weights.version != version:
            raise RolloutError(f"weights published as version {weights.version} were offered as version {version}")
        return weights
    return TensorSnapshot(version, tuple((name, tensor.detach().to("cpu", copy=True)) for name, tensor in weights))
