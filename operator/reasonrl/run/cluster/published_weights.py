"""One version of the policy's weights in Ray's object store: what the fleet keeps, and what its engines read.

The store holds one array for each tensor, in shared memory on each node that reads them and shipped once to each. They live as long as
somebody keeps the reference: the fleet lets go of a version when it has the next one, so the store must have room for two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.exceptions import ObjectStoreFullError, OutOfDiskError

from reasonrl.rl.weight_arrays import ArrayManifest, from_arrays, to_arrays
from reasonrl.run.cluster.ray_node import SHARE_OF_SHARED_MEMORY
from reasonrl.run.errors import RunInputError

VERSIONS = 2
"""Of the weights that the store holds at once: the one that engines have, and the next."""
_READ_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """A `WeightSnapshot`. `reference` is a Ray object: a list of uint8 arrays, one for each entry of the manifest. Iterating reads
    them into this process."""

    manifest: ArrayManifest
    reference: Any

    @property
    def version(self) -> int:
        return self.manifest.version

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return iter(from_arrays(self.manifest, ray.get(self.reference, timeout=_READ_SECONDS)).items())


def publish(weights: Iterable[tuple[str, torch.Tensor]], *, version: int, dtype: torch.dtype | None) -> PublishedWeights:
    """Puts a full set of weights, converted to `dtype` (None: as they are), into the object store of this node.

    Raises RunInputError when it has no room for them: nothing goes to disk instead.
    """
    manifest, arrays = to_arrays(weights, version=version, dtype=dtype)
    try:
        return PublishedWeights(manifest=manifest, reference=ray.put(arrays))
    # The second is what Ray says where its way out, the disk, is closed.
    except (ObjectStoreFullError, OutOfDiskError) as error:
        size = sum(array.nbytes for array in arrays)
        wanted = math.ceil(VERSIONS * size / SHARE_OF_SHARED_MEMORY / 2**30)
        raise RunInputError(
            f"the weights take {size / 2**20:,.0f} MiB, and the object store of this pod, a part of its /dev/shm, has no room for them "
            f"beside the version before: set spec.pods.trainer.sharedMemory and spec.pods.rollout.sharedMemory to at least {wanted}Gi"
        ) from error
