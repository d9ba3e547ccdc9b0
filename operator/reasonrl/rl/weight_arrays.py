"""A full set of weights as arrays of bytes with a manifest, for a transport that copies each array itself.

Ray's object store takes arrays out of line, so a tensor goes from the trainer's memory into shared memory in one copy, and an engine reads
it where it lies. The manifest says what must come: a tensor that was lost, cut off or damaged is found by count, size and checksum before
an engine takes anything over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from reasonrl.rl.packed_weights import NUMBER_FORMATS, Buffer, PackedWeightsError, checksum, empty_buffer, view


@dataclass(frozen=True, slots=True)
class ArrayEntry:
    """One tensor; `size` in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    checksum: int


@dataclass(frozen=True, slots=True)
class ArrayManifest:
    """`version` counts the steps that made the weights; the arrays come in the order of `entries`."""

    version: int
    entries: tuple[ArrayEntry, ...]

    @property
    def total(self) -> int:
        """Bytes of all arrays."""
        return sum(entry.size for entry in self.entries)


def to_arrays(weights: Iterable[tuple[str, Tensor]], *, version: int, dtype: torch.dtype | None) -> tuple[ArrayManifest, list[Buffer]]:
    """Each tensor, in `dtype` (None: its own), as its bytes: where it lies if it can be read there, and else a copy. Use the arrays before
    the tensors change. Raises PackedWeightsError for a name that comes twice and for tensors of other kinds."""
    entries: dict[str, ArrayEntry] = {}
    arrays = []
    for name, tensor in weights:
        kind = dtype or tensor.dtype
        if str(kind) not in NUMBER_FORMATS:
            raise PackedWeightsError(f"{name!r} is {kind}; weights are shipped as {', '.join(NUMBER_FORMATS)}")
        if name in entries:
            raise PackedWeightsError(f"{name!r} was given twice")
        array = _bytes_of(tensor.detach().to(device="cpu", dtype=kind))
        entries[name] = ArrayEntry(name, str(kind), tuple(tensor.shape), array.size, checksum(array))
        arrays.append(array)
    return ArrayManifest(version=version, entries=tuple(entries.values())), arrays


def from_arrays(manifest: ArrayManifest, arrays: Sequence[Buffer]) -> dict[str, Tensor]:
    """Views of the arrays, which may be read-only memory and must outlive them. Raises PackedWeightsError before anything is returned."""
    if len(arrays) != len(manifest.entries):
        raise PackedWeightsError(
            f"{len(arrays)} tensors of version {manifest.version} came, and their manifest names {len(manifest.entries)}"
        )
    found: dict[str, Tensor] = {}
    for entry, array in zip(manifest.entries, arrays, strict=True):
        kind = NUMBER_FORMATS.get(entry.dtype)
        if entry.name in found:
            raise PackedWeightsError(f"{entry.name!r} is in the manifest twice")
        if kind is None or prod(entry.shape) * kind.itemsize != entry.size or array.size != entry.size:
            raise PackedWeightsError(
                f"{entry.name!r} of version {manifest.version}: {entry.dtype} {list(entry.shape)} does not fit the "
                f"{array.size} bytes that came"
            )
        if checksum(array) != entry.checksum:
            raise PackedWeightsError(f"{entry.name!r} of version {manifest.version} was damaged on its way: its checksum is another")
        found[entry.name] = view(array, kind, entry.shape, 0, entry.size)
    return found


def _bytes_of(tensor: Tensor) -> Buffer:
    if tensor.numel() == 0:
        return empty_buffer(0)
    found: Buffer = tensor.contiguous().view(-1).view(torch.uint8).numpy()
    return found
