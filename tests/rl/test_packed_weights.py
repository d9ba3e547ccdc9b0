from __future__ import annotations

import mmap
import os
import pickle
from dataclasses import replace

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.rl.packed_weights import ALIGNMENT, PackedWeightsError, pack, unpack

KINDS = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
SHAPES = [(), (0,), (1,), (7,), (3, 5), (0, 4), (64, 33), (2, 3, 4, 5), (1000,), (17, 1031)]

weight_sets = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(SHAPES)), min_size=1, max_size=6)


def made(forms, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [(f"layer.{index}", torch.randn(shape, generator=random).to(kind)) for index, (kind, shape) in enumerate(forms)]


def as_bytes(tensor):
    return tensor.contiguous().view(-1).view(torch.uint8) if tensor.numel() else tensor.new_empty(0, dtype=torch.uint8)


WEIGHTS = [("embed", torch.randn(40, 8)), ("norm", torch.randn(5)), ("head", torch.randn(300, 16).bfloat16())]


@settings(max_examples=60, deadline=None)
@given(weight_sets)
def test_what_was_packed_comes_out_bit_for_bit(forms):
    weights = made(forms)
    manifest, buffer = pack(weights, version=3, dtype=None)
    found = unpack(pickle.loads(pickle.dumps(manifest)), buffer)
    assert manifest.version == 3
    assert buffer.nbytes == manifest.total
    assert list(found) == [name for name, _ in weights]
    for name, tensor in weights:
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(as_bytes(found[name]), as_bytes(tensor))
    assert all(entry.offset % ALIGNMENT == 0 for entry in manifest.entries)


@pytest.mark.parametrize("kind", KINDS)
def test_packing_in_another_number_format_rounds_as_torch_does(kind):
    weights = made([(torch.float32, shape) for shape in SHAPES])
    manifest, buffer = pack(weights, version=0, dtype=kind)
    found = unpack(manifest, buffer)
    assert all(torch.equal(found[name], tensor.to(kind)) for name, tensor in weights)


def test_a_transposed_view_is_packed_by_its_values():
    tensor = torch.randn(6, 4).T
    manifest, buffer = pack([("w", tensor)], version=0, dtype=None)
    assert torch.equal(unpack(manifest, buffer)["w"], tensor)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_seen_and_its_tensor_named(data):
    manifest, buffer = pack(WEIGHTS, version=1, dtype=None)
    entry = data.draw(st.sampled_from(manifest.entries))
    place = entry.offset + data.draw(st.integers(0, entry.size - 1))
    buffer[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(PackedWeightsError, match=f"'{entry.name}' of version 1 was damaged"):
        unpack(manifest, buffer)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_pages_that_changed_places_or_are_empty_are_seen(data):
    manifest, buffer = pack([("big", torch.randn(16 * 1024))], version=1, dtype=None)
    pages = buffer.reshape(-1, 4096)
    one, other = data.draw(st.lists(st.integers(0, len(pages) - 1), min_size=2, max_size=2, unique=True))
    if data.draw(st.booleans()):
        pages[[one, other]] = pages[[other, one]]
    else:
        pages[one] = 0
    with pytest.raises(PackedWeightsError, match="'big'"):
        unpack(manifest, buffer)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30).filter(lambda distance: distance % 16))
def test_neighbouring_words_that_changed_places_are_seen(distance):
    manifest, buffer = pack([("w", torch.randn(4096))], version=1, dtype=None)
    words = buffer.view(numpy.uint64)
    words[[100, 100 + distance]] = words[[100 + distance, 100]]
    with pytest.raises(PackedWeightsError):
        unpack(manifest, buffer)


@pytest.mark.parametrize(("left", "name"), [(0, "embed"), (40 * 8 * 4 - 1, "embed"), (40 * 8 * 4 + 4, "norm"), (-1, "head")])
def test_a_short_buffer_names_the_first_tensor_that_is_not_whole(left, name):
    manifest, buffer = pack(WEIGHTS, version=1, dtype=None)
    with pytest.raises(PackedWeightsError, match=f"{manifest.total}.*'{name}'"):
        unpack(manifest, buffer[: left if left >= 0 else manifest.total + left])


def test_a_long_buffer_is_refused():
    manifest, buffer = pack(WEIGHTS, version=1, dtype=None)
    with pytest.raises(PackedWeightsError, match="bytes left over"):
        unpack(manifest, numpy.append(buffer, numpy.zeros(64, dtype=numpy.uint8)))


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_manifest_that_lost_an_entry_is_refused(missing):
    manifest, buffer = pack(WEIGHTS, version=1, dtype=None)
    entries = tuple(entry for index, entry in enumerate(manifest.entries) if index != missing)
    with pytest.raises(PackedWeightsError, match="missing"):
        unpack(replace(manifest, entries=entries), buffer)


def test_entries_that_do_not_fit_are_refused_by_name():
    manifest, buffer = pack(WEIGHTS, version=1, dtype=None)
    first, *rest = manifest.entries
    for faulty in (
        replace(first, shape=(41, 8)),
        replace(first, dtype="torch.int64"),
        replace(first, offset=1 << 40),
        replace(first, offset=8),
    ):
        with pytest.raises(PackedWeightsError, match="'embed'"):
            unpack(replace(manifest, entries=(faulty, *rest)), buffer)
    with pytest.raises(PackedWeightsError, match="'embed' is in the manifest twice"):
        unpack(replace(manifest, entries=(first, first, *rest[1:])), buffer)


def test_what_cannot_be_packed_is_refused_by_name():
    with pytest.raises(PackedWeightsError, match=r"'ids' is torch.int64"):
        pack([("ids", torch.arange(3))], version=0, dtype=None)
    with pytest.raises(PackedWeightsError, match="'w' was given twice"):
        pack([("w", torch.ones(2)), ("w", torch.ones(2))], version=0, dtype=None)


def test_weights_are_packed_into_memory_that_others_can_read():
    descriptor = os.memfd_create("weights")
    places = []

    def allocate(size):
        os.ftruncate(descriptor, size)
        places.append(mmap.mmap(descriptor, size))
        return numpy.frombuffer(places[0], dtype=numpy.uint8)

    manifest, _ = pack(WEIGHTS, version=1, dtype=None, allocate=allocate)
    there = mmap.mmap(descriptor, manifest.total, prot=mmap.PROT_READ)
    found = unpack(manifest, memoryview(there))
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS)
    os.close(descriptor)
