"""How a full set of weights is offered to the processes that hold vLLM's model.

An engine that computes in this process is offered the tensors where they lie. Processes of their own, one for each GPU that shares the
model, are offered one packed buffer in anonymous shared memory: it has no name that could outlive a process that is killed, and needs no
room in /dev/shm, which is 64 MiB in most containers.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from reasonrl.rl.packed_weights import Buffer, PackedWeightsError, WeightManifest, pack, unpack


@dataclass(frozen=True, slots=True)
class LocalOffer:
    """Tensors of this process, whole and of known shapes."""

    version: int
    tensors: Mapping[str, Tensor]

    def open(self) -> Mapping[str, Tensor]:
        return self.tensors


@dataclass(frozen=True, slots=True)
class SharedOffer:
    """A packed set of weights in the memory file `descriptor` of process `owner`, on the same machine. Picklable."""

    manifest: WeightManifest
    owner: int
    descriptor: int

    @property
    def version(self) -> int:
        return self.manifest.version

    def open(self) -> Mapping[str, Tensor]:
        """Views of the shared memory, which is held as long as one of them is. Raises PackedWeightsError, naming the tensor, when it is
        not what the manifest says."""
        if self.manifest.total == 0:
            return unpack(self.manifest, numpy.empty(0, dtype=numpy.uint8))
        try:
            file = os.open(f"/proc/{self.owner}/fd/{self.descriptor}", os.O_RDONLY)
        except OSError as error:
            raise PackedWeightsError(f"the weights of version {self.version} in process {self.owner} cannot be opened: {error}") from error
        try:
            size = os.fstat(file).st_size
            if size < self.manifest.total:
                raise PackedWeightsError(
                    f"the weights of version {self.version} have {size} bytes, their manifest says {self.manifest.total}"
                )
            memory = mmap.mmap(file, self.manifest.total, prot=mmap.PROT_READ)
        finally:
            os.close(file)
        return unpack(self.manifest, memoryview(memory))


WeightOffer = LocalOffer | SharedOffer


@contextmanager
def shared_offer(tensors: Mapping[str, Tensor], *, version: int, dtype: torch.dtype) -> Iterator[SharedOffer]:
    """`tensors` packed in `dtype` for other processes. The memory is given back at the end, and by the system when this process is
    killed."""
    descriptor = os.memfd_create(f"weights-{version}", os.MFD_CLOEXEC)

    def allocate(size: int) -> Buffer:
        os.ftruncate(descriptor, size)
        return numpy.frombuffer(mmap.mmap(descriptor, size), dtype=numpy.uint8) if size else numpy.empty(0, dtype=numpy.uint8)

    try:
        manifest, _ = pack(tensors.items(), version=version, dtype=dtype, allocate=allocate)
        yield SharedOffer(manifest=manifest, owner=os.getpid(), descriptor=descriptor)
    finally:
        os.close(descriptor)
