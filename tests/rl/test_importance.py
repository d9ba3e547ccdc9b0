"""Corrections between sampler and trainer, on ratios chosen by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.rl.importance import ImportanceCorrection, importance_weights

RATIOS = [0.1, 0.5, 1.0, 1.9, 2.0, 5.0]
IDS = torch.tensor([0, 0, 0, 1, 1, 1])


def weights(
    kind: str, level: str = "token", *, ratios: list[float] = RATIOS, mask: list[float] | None = None
) -> tuple[list[float], list[float]]:
    sampler = torch.full((len(ratios),), -3.0, dtype=torch.float64)
    found = importance_weights(
        sampler + torch.tensor(ratios, dtype=torch.float64).log(),
        sampler,
        mask=torch.tensor(mask if mask is not None else [1.0] * len(ratios)),
        sequence_ids=IDS[: len(ratios)],
        correction=ImportanceCorrection(kind=kind, level=level, cap=2.0 + 1e-9, floor=0.5 - 1e-9),  # type: ignore[arg-type]
    )
    return found.weights.tolist(), found.corrected.tolist()


def test_truncation_caps_the_ratio_and_nothing_else() -> None:
    found, corrected = weights("truncate")
    assert found == pytest.approx([0.1, 0.5, 1.0, 1.9, 2.0, 2.0])
    assert corrected == [0, 0, 0, 0, 0, 1]


def test_mask_drops_tokens_outside_the_range_and_weighs_the_others() -> None:
    found, corrected = weights("mask")
    assert found == pytest.approx([0.0, 0.5, 1.0, 1.9, 2.0, 0.0])
    assert corrected == [1, 0, 0, 0, 0, 1]


def test_none_weighs_every_token_one() -> None:
    assert weights("none") == ([1.0] * 6, [0.0] * 6)


def test_sequence_level_uses_the_geometric_mean() -> None:
    found, _ = weights("truncate", "sequence")
    first, second = math.prod(RATIOS[:3]) ** (1 / 3), math.prod(RATIOS[3:]) ** (1 / 3)
    assert found == pytest.approx([first] * 3 + [min(second, 2.0)] * 3)
    found, corrected = weights("mask", "sequence")
    assert found == pytest.approx([0.0] * 6)
    assert corrected == [1] * 6


def test_sequence_level_ignores_tokens_outside_the_mask() -> None:
    found, _ = weights("mask", "sequence", mask=[0, 1, 1, 1, 1, 0])
    assert found == pytest.approx([math.sqrt(0.5)] * 3 + [math.sqrt(1.9 * 2.0)] * 3)


def test_weights_carry_no_gradient() -> None:
    new = torch.tensor([-1.0, -2.0], requires_grad=True)
    correction = ImportanceCorrection(kind="truncate")
    found = importance_weights(
        new, torch.tensor([-1.5, -1.5]), mask=torch.ones(2), sequence_ids=torch.zeros(2, dtype=torch.long), correction=correction
    )
    assert not found.weights.requires_grad


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(["truncate", "mask", "none"]),
    level=st.sampled_from(["token", "sequence"]),
    new=st.floats(-1e5, 0.0),
    old=st.floats(-1e5, 0.0),
)
def test_weights_are_finite_and_bounded_for_extreme_ratios(kind: str, level: str, new: float, old: float) -> None:
    correction = ImportanceCorrection(kind=kind, level=level)  # type: ignore[arg-type]
    found = importance_weights(
        torch.tensor([new, -1.0]),
        torch.tensor([old, -1.0]),
        mask=torch.ones(2),
        sequence_ids=torch.zeros(2, dtype=torch.long),
        correction=correction,
    )
    assert torch.isfinite(found.weights).all()
    assert float(found.weights.min()) >= 0.0
    assert float(found.weights.max()) <= correction.cap
