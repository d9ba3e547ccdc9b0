"""Ranks that die, freeze or never come."""

from __future__ import annotations

from typing import Any

import pytest

TIMEOUT = 4.0


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGSTOP"])
def test_the_others_learn_of_a_lost_rank_within_the_timeout(on_ranks: Any, signal: str, stage: int) -> None:
    victim = stage % 2
    found = on_ranks(do="fault", world=2, stage=stage, signal=signal, victim=victim, timeout=TIMEOUT)
    assert found[victim] is None
    errors = found[1 - victim]["errors"]
    assert f"trainer rank {1 - victim} of 2 lost another rank" in errors[0]
    assert "started again" in errors[0]
    # The groups are gone: the second call must not wait for anybody.
    assert errors[1] == errors[0]


def test_of_four_ranks_all_others_learn_of_a_frozen_one(on_ranks: Any) -> None:
    found = on_ranks(do="fault", world=4, stage=2, signal="SIGSTOP", victim=2, timeout=TIMEOUT, kl=True)
    assert [len(each["errors"]) if each else None for each in found] == [2, 2, None, 2]


def test_a_rank_that_never_comes_ends_the_start(on_ranks: Any) -> None:
    (error,) = [each["error_text"] for each in on_ranks(do="alone", world=1, stage=0, ranks=2, timeout=2.0)]
    assert "trainer rank 0 of 2 did not find the others" in error
    assert "within 2 s" in error
