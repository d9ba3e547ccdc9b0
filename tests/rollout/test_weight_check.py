from __future__ import annotations

import pytest
import torch

from reasonrl.rollout.protocol import WeightLoadError
from reasonrl.rollout.weight_check import checked_weights

EXPECTED = {"embed": (4, 2), "norm": (2,)}
ALIASES = {"head": "embed"}


def offer(**changes):
    return {"embed": torch.ones(4, 2), "norm": torch.ones(2)} | changes


def check(weights):
    return checked_weights(weights.items(), expected=EXPECTED, aliases=ALIASES)


def test_a_complete_offer_comes_back_by_name_and_uncopied():
    weights = offer()
    found = check(weights)
    assert {name: found[name].data_ptr() for name in found} == {name: weights[name].data_ptr() for name in EXPECTED}


@pytest.mark.parametrize("head", [torch.ones(4, 2), torch.ones(4, 4)[:, ::2]])
def test_an_equal_alias_is_accepted_whatever_its_storage(head):
    assert set(check(offer(head=head))) == set(EXPECTED)


def test_an_alias_may_stand_for_its_weight():
    weights = offer(head=torch.full((4, 2), 3.0))
    del weights["embed"]
    assert float(check(weights)["embed"][0, 0]) == 3.0


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"embed": torch.ones(4, 2)}, r"1 of 2 weights are missing: norm"),
        (offer(extra=torch.ones(1)), r"1 weights are unknown .*: extra"),
        (offer(norm=torch.ones(3)), r"'norm' has shape \[3\], the engine's model needs \[2\]"),
        (offer(norm=torch.ones(2, dtype=torch.long)), r"'norm' is torch.int64"),
        (offer(head=torch.zeros(4, 2)), r"one tied weight"),
        ({f"n{index}": torch.ones(1) for index in range(9)}, r"n0, n1, n2, n3, n4 and 4 more"),
    ],
)
def test_a_faulty_offer_is_named(weights, message):
    with pytest.raises(WeightLoadError, match=message):
        check(weights)
