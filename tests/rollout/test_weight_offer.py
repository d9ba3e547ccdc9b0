from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys

import pytest
import torch

from reasonrl.rl.packed_weights import PackedWeightsError
from reasonrl.rollout.weight_offer import LocalOffer, shared_offer

READER = """
import pickle, sys
offer = pickle.loads(bytes.fromhex(sys.argv[1]))
weights = offer.open()
print(offer.version, {name: tensor.float().sum().item() for name, tensor in weights.items()})
"""


@pytest.fixture
def weights():
    random = torch.Generator().manual_seed(0)
    return {"head": torch.randn(7, 5, generator=random), "body": torch.randn(300, generator=random)}


def files_of_this_process():
    return len(os.listdir("/proc/self/fd"))


def test_an_offer_of_this_process_is_the_tensors_themselves(weights):
    opened = LocalOffer(version=3, tensors=weights).open()
    assert all(opened[name] is tensor for name, tensor in weights.items())


def test_another_process_reads_an_offer_as_it_was_packed(weights):
    with shared_offer(weights, version=4, dtype=torch.bfloat16) as offer:
        told = subprocess.run(
            [sys.executable, "-c", READER, pickle.dumps(offer).hex()], capture_output=True, text=True, timeout=120, check=True
        )
    expected = {name: tensor.bfloat16().float().sum().item() for name, tensor in weights.items()}
    assert told.stdout == f"4 {expected}\n"


def test_what_was_opened_outlives_the_offer_and_nothing_else_is_left(weights):
    before = files_of_this_process()
    with shared_offer(weights, version=4, dtype=torch.float32) as offer:
        opened = offer.open()
    assert all(torch.equal(opened[name], tensor) for name, tensor in weights.items())
    with pytest.raises(PackedWeightsError, match=r"the weights of version 4 in process .* cannot be opened"):
        offer.open()
    del opened
    gc.collect()
    assert files_of_this_process() == before


def test_an_offer_that_was_cut_off_or_changed_is_refused(weights):
    with shared_offer(weights, version=4, dtype=torch.float32) as offer:
        (byte,) = os.pread(offer.descriptor, 1, 140)
        os.pwrite(offer.descriptor, bytes([byte ^ 1]), 140)
        with pytest.raises(PackedWeightsError, match="'head' of version 4 was damaged"):
            offer.open()
    with shared_offer(weights, version=5, dtype=torch.float32) as offer:
        os.ftruncate(offer.descriptor, 64)
        with pytest.raises(PackedWeightsError, match="have 64 bytes, their manifest says"):
            offer.open()


def test_a_set_without_weights_is_an_empty_one():
    with shared_offer({}, version=1, dtype=torch.float32) as offer:
        assert offer.open() == {}
