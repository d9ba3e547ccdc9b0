"""Every random choice of a run, as a function of (seed, purpose, step).

A generator that is carried from step to step must be saved and restored exactly for a resumed run to go on as if nothing had
happened. Seeds that are derived anew for each step need neither: the checkpoint holds the job's seed and the step, and that is
all. The global generators of torch, numpy and Python, which models with dropout and user code may draw from, are re-seeded at
each step in the same way.
"""

from __future__ import annotations

import hashlib
import random

import numpy
import torch


def derive_seed(seed: int, purpose: str, step: int) -> int:
    """A 63-bit seed, well spread even for neighbouring steps (the first bytes of a SHA-256)."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_global_generators(seed: int, step: int) -> None:
    value = derive_seed(seed, "global", step)
    random.seed(value)
    numpy.random.seed(value % 2**32)
    torch.manual_seed(value)
