"""Seeds follow from seed, purpose and step alone."""

from __future__ import annotations

import random

import numpy
import torch

from reasonrl.run.seeds import derive_seed, seed_global_generators


def test_every_part_of_the_name_matters() -> None:
    seeds = {derive_seed(seed, purpose, step) for seed in range(5) for purpose in ("rollout", "order") for step in range(5)}
    assert len(seeds) == 50
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_global_generators_start_alike_at_the_same_step() -> None:
    def drawn() -> tuple[float, float, float]:
        return random.random(), float(numpy.random.random()), float(torch.rand(()))

    seed_global_generators(1, 7)
    first = drawn()
    drawn()
    seed_global_generators(1, 7)
    assert drawn() == first
    seed_global_generators(1, 8)
    assert drawn() != first
