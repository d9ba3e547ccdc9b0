"""A full set of weights as one flat buffer: what travels from the trainers to the engines.

One buffer can lie in shared memory and be read where it lies, and its manifest says what must be in it. A tensor that was lost, cut off or
damaged on the way is found by count, size and checksum before an engine takes anything over.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

ALIGNMENT = 64
"""Bytes. Every tensor begins at a multiple of it, so that it can be viewed in any number format."""
_BLOCK_WORDS = 1 << 13
_DTYPES: dict[str, torch.dtype] = {str(dtype): dtype for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64)}

Buffer = NDArray[numpy.uint8]


class PackedWeightsError(Exception):
    """The buffer is not what the manifest says; the message names the tensor."""


@dataclass(frozen=True, slots=True)
class PackedEntry:
    """One tensor. `offset` and `size` in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int
    checksum: int


@dataclass(frozen=True, slots=True)
class WeightManifest:
    """`version` counts the steps that made the weights; `total` is the buffer's size in bytes."""

    version: int
    entries: tuple[PackedEntry, ...]
    total: int


def pack(weights: Iterable[tuple[str, Tensor]], *, version: int, dtype: torch.dtype | None) -> tuple[WeightManifest, Buffer]:
    """Copies the tensors, in `dtype` (None: each in its own), one after the other into a fresh buffer uint8 `[total]`."""
    tensors = [(name, tensor.detach()) for name, tensor in weights]
    offset = 0
    places: list[tuple[str, Tensor, torch.dtype, int, int]] = []
    for name, tensor in tensors:
        kind = dtype or tensor.dtype
        if str(kind) not in _DTYPES:
            raise PackedWeightsError(f"{name!r} is {kind}; weights are packed as {', '.join(_DTYPES)}")
        size = tensor.numel() * kind.itemsize
        places.append((name, tensor, kind, offset, size))
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    buffer = numpy.empty(offset, dtype=numpy.uint8)
    entries = []
    for name, tensor, kind, start, size in places:
        target = _view(buffer, kind, tuple(tensor.shape), start, size)
        target.copy_(tensor)
        padded = -(-size // ALIGNMENT) * ALIGNMENT
        buffer[start + size : start + padded] = 0
        entries.append(PackedEntry(name, str(kind), tuple(tensor.shape), start, size, _checksum(buffer[start : start + padded])))
    return WeightManifest(version=version, entries=tuple(entries), total=offset), buffer


def unpack(manifest: WeightManifest, buffer: Buffer | memoryview) -> dict[str, Tensor]:
    """Views of `buffer`, which may be read-only memory and must outlive them. Raises PackedWeightsError before anything is returned."""
    flat = numpy.frombuffer(buffer, dtype=numpy.uint8)
    if flat.size != manifest.total:
        raise PackedWeightsError(f"the weights of version {manifest.version} have {flat.size} bytes, their manifest says {manifest.total}")
    found: dict[str, Tensor] = {}
    for entry in manifest.entries:
        if entry.name in found:
            raise PackedWeightsError(f"{entry.name!r} is in the manifest twice")
        kind = _DTYPES.get(entry.dtype)
        padded = -(-entry.size // ALIGNMENT) * ALIGNMENT
        if kind is None or prod(entry.shape) * kind.itemsize != entry.size or entry.offset % ALIGNMENT or entry.offset + padded > flat.size:
            raise PackedWeightsError(f"{entry.name!r}: {entry.dtype} {list(entry.shape)} does not fit {entry.size} bytes at {entry.offset}")
        if _checksum(flat[entry.offset : entry.offset + padded]) != entry.checksum:
            raise PackedWeightsError(f"{entry.name!r} of version {manifest.version} was damaged on its way: its checksum is another")
        found[entry.name] = _view(flat, kind, entry.shape, entry.offset, entry.size)
    return found


def _view(buffer: Buffer, dtype: torch.dtype, shape: tuple[int, ...], offset: int, size: int) -> Tensor:
    if size == 0:
        return torch.empty(shape, dtype=dtype)
    part = buffer[offset : offset + size]
    with warnings.catch_warnings():
        # Of read-only memory: whoever unpacks copies out of it and never writes.
        warnings.simplefilter("ignore", UserWarning)
        return torch.frombuffer(part, dtype=dtype).view(shape)


def _checksum(part: Buffer) -> int:
    """Sums of 64 KiB blocks, each times an odd number of its place, modulo 2^64: as fast as memory, and it sees flipped bits, blocks that
    are missing and blocks that changed places."""
    words = part.view(numpy.uint64)
    whole = words.size // _BLOCK_WORDS * _BLOCK_WORDS
    sums = words[:whole].reshape(-1, _BLOCK_WORDS).sum(axis=1, dtype=numpy.uint64)
    rest = words[whole:].sum(dtype=numpy.uint64)
    sums = numpy.append(sums, rest)
    places = 2 * numpy.arange(sums.size, dtype=numpy.uint64) + numpy.uint64(1)
    return int((sums * places).sum(dtype=numpy.uint64))
