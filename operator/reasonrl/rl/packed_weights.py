"""A full set of weights as one flat buffer: what travels from the trainers to the engines.

One buffer can lie in shared memory and be read where it lies, and its manifest says what must be in it. A tensor that was lost, cut off or
damaged on the way is found by count, size and checksum before an engine takes anything over.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

ALIGNMENT = 64
"""Bytes. Every tensor begins at a multiple of it, so that it can be viewed in any number format."""
_PAGE = 4096
_LANES = 16
NUMBER_FORMATS: dict[str, torch.dtype] = {str(dtype): dtype for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64)}

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


def empty_buffer(size: int) -> Buffer:
    """`[size]` bytes of this process's memory, not cleared."""
    return numpy.empty(size, dtype=numpy.uint8)


def pack(
    weights: Iterable[tuple[str, Tensor]],
    *,
    version: int,
    dtype: torch.dtype | None,
    allocate: Callable[[int], Buffer] = empty_buffer,
) -> tuple[WeightManifest, Buffer]:
    """Copies the tensors, in `dtype` (None: each in its own), one after the other into a fresh buffer uint8 `[total]`, which `allocate`
    gets (shared memory, say). Raises PackedWeightsError for a name that comes twice and for tensors of other kinds."""
    places: dict[str, tuple[Tensor, torch.dtype, int, int]] = {}
    offset = 0
    for name, tensor in weights:
        kind = dtype or tensor.dtype
        if str(kind) not in NUMBER_FORMATS:
            raise PackedWeightsError(f"{name!r} is {kind}; weights are packed as {', '.join(NUMBER_FORMATS)}")
        if name in places:
            raise PackedWeightsError(f"{name!r} was given twice")
        size = tensor.numel() * kind.itemsize
        places[name] = (tensor.detach(), kind, offset, size)
        offset += _padded(size)
    buffer = allocate(offset)
    entries = []
    for name, (tensor, kind, start, size) in places.items():
        view(buffer, kind, tuple(tensor.shape), start, size).copy_(tensor)
        padded = _padded(size)
        buffer[start + size : start + padded] = 0
        entries.append(PackedEntry(name, str(kind), tuple(tensor.shape), start, size, checksum(buffer[start : start + padded])))
    return WeightManifest(version=version, entries=tuple(entries), total=offset), buffer


def unpack(manifest: WeightManifest, buffer: Buffer | memoryview) -> dict[str, Tensor]:
    """Views of `buffer`, which may be read-only memory and must outlive them. Raises PackedWeightsError before anything is returned."""
    flat = numpy.frombuffer(buffer, dtype=numpy.uint8)
    if flat.size != manifest.total:
        raise PackedWeightsError(
            f"the weights of version {manifest.version} have {flat.size} bytes, their manifest says {manifest.total}; "
            f"the first tensor that is not whole is {_first_beyond(manifest, flat.size)}"
        )
    found: dict[str, Tensor] = {}
    end = 0
    for entry in manifest.entries:
        if entry.name in found:
            raise PackedWeightsError(f"{entry.name!r} is in the manifest twice")
        kind = NUMBER_FORMATS.get(entry.dtype)
        padded = _padded(entry.size)
        if kind is None or prod(entry.shape) * kind.itemsize != entry.size or entry.offset % ALIGNMENT or entry.offset + padded > flat.size:
            raise PackedWeightsError(f"{entry.name!r}: {entry.dtype} {list(entry.shape)} does not fit {entry.size} bytes at {entry.offset}")
        if entry.offset != end:
            raise PackedWeightsError(
                f"{entry.name!r} begins at byte {entry.offset}, but what comes before it ends at {end}: an entry is missing"
            )
        end += padded
        if checksum(flat[entry.offset : end]) != entry.checksum:
            raise PackedWeightsError(f"{entry.name!r} of version {manifest.version} was damaged on its way: its checksum is another")
        found[entry.name] = view(flat, kind, entry.shape, entry.offset, entry.size)
    if end != manifest.total:
        raise PackedWeightsError(f"{manifest.total - end} bytes after {[*found][-1:]} belong to no tensor: an entry is missing")
    return found


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _first_beyond(manifest: WeightManifest, size: int) -> str:
    return next((repr(entry.name) for entry in manifest.entries if entry.offset + entry.size > size), "none, but there are bytes left over")


def view(buffer: Buffer, dtype: torch.dtype, shape: tuple[int, ...], offset: int, size: int) -> Tensor:
    if size == 0:
        return torch.empty(shape, dtype=dtype)
    part = buffer[offset : offset + size]
    with warnings.catch_warnings():
        # Of read-only memory: whoever unpacks copies out of it and never writes.
        warnings.simplefilter("ignore", UserWarning)
        return torch.frombuffer(part, dtype=dtype).view(shape)


def checksum(part: Buffer) -> int:
    """Sums of every 16th 64-bit word of a page of 4 KiB, each times an odd number of its place, modulo 2^64: as fast as memory can be read,
    and it sees every flipped bit, pages that are missing or changed places, and whatever moved by anything but multiples of 128 bytes
    inside its page. Bytes that fill no word count as if zeros followed."""
    whole_words = part.size // 8 * 8
    words = view(part, torch.int64, (whole_words // 8,), 0, whole_words)
    if whole_words < part.size:
        rest = numpy.zeros(8, dtype=numpy.uint8)
        rest[: part.size - whole_words] = part[whole_words:]
        words = torch.cat((words, view(rest, torch.int64, (1,), 0, 8)))
    whole = len(words) // (_PAGE // 8) * (_PAGE // 8)
    sums = words[:whole].view(-1, _PAGE // 8 // _LANES, _LANES).sum(dim=1).view(-1)
    sums = torch.cat((sums, words[whole:]))
    places = torch.arange(1, 2 * len(sums) + 1, 2)
    return int((sums * places).sum())
