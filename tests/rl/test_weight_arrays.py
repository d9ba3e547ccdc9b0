"""Weights as arrays of bytes: whole and unchanged at the other end, or refused by name."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.rl.packed_weights import PackedWeightsError
from reasonrl.rl.weight_arrays import from_arrays, to_arrays

KINDS = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
SHAPES = [(), (0,), (1,), (7,), (3, 5), (0, 4), (64, 33), (1000,), (17, 1031)]
WEIGHTS = [("embed", torch.randn(40, 8)), ("norm", torch.randn(5)), ("head", torch.randn(301, 17).bfloat16())]

weight_sets = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(SHAPES)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(weight_sets)
def test_what_was_shipped_comes_out_bit_for_bit(forms: list[tuple[torch.dtype, tuple[int, ...]]]) -> None:
    random = torch.Generator().manual_seed(0)
    weights = [(f"layer.{index}", torch.randn(shape, generator=random).to(kind)) for index, (kind, shape) in enumerate(forms)]
    manifest, arrays = to_arrays(weights, version=3, dtype=None)
    # As Ray does: out of line, and read-only at the other end.
    buffers: list[pickle.PickleBuffer] = []
    shipped = pickle.dumps((manifest, arrays), protocol=5, buffer_callback=buffers.append)
    found = from_arrays(*pickle.loads(shipped, buffers=[bytes(buffer.raw()) for buffer in buffers]))
    assert list(found) == [name for name, _ in weights]
    for name, tensor in weights:
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found[name], tensor)
    assert manifest.total == sum(array.nbytes for array in arrays)


@pytest.mark.parametrize("kind", KINDS)
def test_another_number_format_rounds_as_torch_does(kind: torch.dtype) -> None:
    found = from_arrays(*to_arrays(WEIGHTS, version=0, dtype=kind))
    assert all(torch.equal(found[name], tensor.to(kind)) for name, tensor in WEIGHTS)


def test_tensors_that_need_no_conversion_are_not_copied() -> None:
    tensor = torch.randn(64, 64)
    _, (array,) = to_arrays([("w", tensor)], version=0, dtype=torch.float32)
    assert array.__array_interface__["data"][0] == tensor.data_ptr()


def test_a_transposed_view_is_shipped_by_its_values() -> None:
    tensor = torch.randn(6, 4).T
    assert torch.equal(from_arrays(*to_arrays([("w", tensor)], version=0, dtype=None))["w"], tensor)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_seen_and_its_tensor_named(data: st.DataObject) -> None:
    manifest, arrays = to_arrays([(name, tensor.clone()) for name, tensor in WEIGHTS], version=1, dtype=None)
    number = data.draw(st.integers(0, len(arrays) - 1))
    arrays[number][data.draw(st.integers(0, arrays[number].size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(PackedWeightsError, match=f"'{WEIGHTS[number][0]}' of version 1 was damaged"):
        from_arrays(manifest, arrays)


def test_a_lost_tensor_is_an_error() -> None:
    manifest, arrays = to_arrays(WEIGHTS, version=1, dtype=None)
    with pytest.raises(PackedWeightsError, match="2 tensors of version 1 came, and their manifest names 3"):
        from_arrays(manifest, arrays[:-1])


def test_tensors_that_changed_places_are_an_error() -> None:
    weights = [("one", torch.randn(8, 8)), ("two", torch.randn(8, 8))]
    manifest, arrays = to_arrays(weights, version=1, dtype=None)
    with pytest.raises(PackedWeightsError, match="'one' of version 1 was damaged"):
        from_arrays(manifest, arrays[::-1])


def test_a_tensor_that_was_cut_off_is_an_error() -> None:
    manifest, arrays = to_arrays(WEIGHTS, version=1, dtype=None)
    with pytest.raises(PackedWeightsError, match=r"'norm' of version 1: torch.float32 \[5\] does not fit the 16 bytes"):
        from_arrays(manifest, [arrays[0], arrays[1][:-4], arrays[2]])


def test_a_manifest_that_names_a_tensor_twice_is_an_error() -> None:
    manifest, arrays = to_arrays(WEIGHTS[:1], version=1, dtype=None)
    with pytest.raises(PackedWeightsError, match="'embed' is in the manifest twice"):
        from_arrays(replace(manifest, entries=manifest.entries * 2), arrays * 2)


@pytest.mark.parametrize("weights", [[("w", torch.ones(2)), ("w", torch.ones(2))], [("w", torch.ones(2, dtype=torch.int64))]])
def test_what_cannot_be_shipped_is_refused(weights: list[tuple[str, torch.Tensor]]) -> None:
    with pytest.raises(PackedWeightsError, match="'w'"):
        to_arrays(weights, version=0, dtype=None)


def test_the_arrays_are_plain_bytes() -> None:
    _, arrays = to_arrays(WEIGHTS, version=0, dtype=None)
    assert all(array.dtype == numpy.uint8 and array.ndim == 1 for array in arrays)
