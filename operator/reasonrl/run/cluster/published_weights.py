"""One version of the policy's weights in Ray's object store: what the fleet keeps, and what its engines read.

The store holds one flat buffer, in shared memory on each node that reads it and shipped once to each. It lives as long as somebody keeps
the reference: the fleet lets go of a version when it has the next one, so the store must have room for two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
import torch

from reasonrl.rl.packed_weights import WeightManifest, pack, unpack

_READ_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """A `WeightSnapshot`. `reference` is a Ray object: a uint8 array `[manifest.total]`. Iterating reads it into this process."""

    manifest: WeightManifest
    reference: Any

    @property
    def version(self) -> int:
        return self.manifest.version

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return iter(unpack(self.manifest, ray.get(self.reference, timeout=_READ_SECONDS)).items())


def publish(weights: Iterable[tuple[str, torch.Tensor]], *, version: int, dtype: torch.dtype | None) -> PublishedWeights:
    """Puts a full set of weights, converted to `dtype` (None: as they are), into the object store of this node."""
    manifest, buffer = pack(weights, version=version, dtype=dtype)
    return PublishedWeights(manifest=manifest, reference=ray.put(buffer))
